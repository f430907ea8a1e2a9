package dpop

import (
	"slices"
	"strings"

	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/harness/expect"
)

func verbatim(compact string) harness.ProofChange {
	return func(p *harness.Proof) { p.Verbatim(compact) }
}

// replayForm is how a replay is refused; a single-use nonce ends the proof as well.
func (w site) replayForm(check attacks.Check) harness.Refusal {
	form := w.form(check.Refusal)
	form.Errors = append(slices.Clone(form.Errors), "use_dpop_nonce")
	return form
}

// capture lets the target accept a proof, and returns it.
func capture(c *expect.Case, where site) *attacks.Captured {
	proof := &attacks.Captured{}
	c.Assume(where.prepare(c)(proof.Capture)).To(expect.BeAccepted(), "the honest proof")
	if proof.Compact == "" {
		c.Unlearned("no proof was sent that could be sent again")
	}
	return proof
}

// replay sends the very bytes of an accepted proof again, with a request that is otherwise fresh (RFC 9449 §11.1).
func replay(s *expect.Suite) {
	check := attacks.Keys().Replay
	for _, where := range sites(s) {
		s.It(check, where.at, func(c *expect.Case) {
			second := where.prepare(c)
			proof := capture(c, where)
			var answer harness.Outcome
			c.Attack(func() { answer = second(verbatim(proof.Compact)) })
			c.Assume(where.honest(c)).To(expect.BeAccepted(), "an honest proof, again")
			where.unlessUnread(c, answer)
			c.Refuses(answer, where.replayForm(check))
		})
	}
	replays(s)
}

// replays tries what means the same proof in other bytes. It says something only where the same bytes are refused.
func replays(s *expect.Suite) {
	k := attacks.Replays()
	for _, where := range sites(s) {
		variant := func(check attacks.Check, ways func(c *expect.Case, proof *attacks.Captured) []harness.ProofChange) {
			s.It(check, where.at, func(c *expect.Case) { replayedOtherwise(c, where, check, ways) })
		}
		variant(k.Rewritten, func(_ *expect.Case, proof *attacks.Captured) []harness.ProofChange {
			var out []harness.ProofChange
			for _, compact := range proof.Rewritten(where.who.Key.Alg) {
				out = append(out, verbatim(compact))
			}
			return out
		})
		variant(k.SameJTI, func(_ *expect.Case, proof *attacks.Captured) []harness.ProofChange {
			return []harness.ProofChange{proof.Again("the jti of a proof before", func(claims *harness.Object) {
				slices.Reverse(*claims)
				if iat, ok := claims.Get("iat").(int64); ok {
					claims.Set("iat", iat-1)
				}
			})}
		})
		variant(k.Respelt, func(c *expect.Case, proof *attacks.Captured) []harness.ProofChange {
			var out []harness.ProofChange
			for _, spelling := range attacks.Respellings() {
				htu := spelling.Respell(proof.Claims.Get("htu"))
				if htu == "" || where.prepare(c)(func(p *harness.Proof) { p.Claims.Set("htu", htu) }).State != harness.Granted {
					continue // it is no other spelling, or this server does not know it
				}
				out = append(out, proof.Again("the jti of a proof before", func(claims *harness.Object) { claims.Set("htu", htu) }))
			}
			if len(out) == 0 {
				c.NotApplicable("observed: htu is accepted here in one spelling only")
			}
			return out
		})
		elsewhere(s, k.Elsewhere, where)
		otherClient(s, k.OtherClient, where)
	}
	if !slices.ContainsFunc(sites(s), func(w site) bool { return len(sources(s, w)) > 0 }) {
		s.Skip(k.Elsewhere, expect.Place{Endpoint: "token"}, "no client proves its key at two endpoints")
	}
	if !slices.ContainsFunc(sites(s), func(w site) bool { return partner(s, w) != nil }) {
		s.Skip(k.OtherClient, expect.Place{Endpoint: "token"}, "no endpoint gets proofs of two clients")
	}
	if len(sites(s)) == 0 {
		for _, check := range []attacks.Check{attacks.Keys().Replay, k.Rewritten, k.SameJTI, k.Respelt} {
			s.Skip(check, expect.Place{Endpoint: "token"}, nowhere)
		}
	}
}

// refusedAgain is a proof that was accepted, and refused when it came again. Where it is not, what is done otherwise shows nothing more.
func refusedAgain(c *expect.Case, where site) *attacks.Captured {
	again := where.prepare(c)
	proof := capture(c, where)
	var plain harness.Outcome
	c.Attack(func() { plain = again(verbatim(proof.Compact)) })
	switch plain.State {
	case harness.Granted:
		c.NotApplicable("observed: the very same proof is accepted again here; see %s", attacks.Keys().Replay.ID)
	case harness.Unknown:
		c.Unlearned("the same proof again: %s", plain)
	}
	return proof
}

func replayedOtherwise(c *expect.Case, where site, check attacks.Check, ways func(*expect.Case, *attacks.Captured) []harness.ProofChange) {
	proof := refusedAgain(c, where)
	var answer harness.Outcome
	for _, way := range ways(c, proof) {
		send := where.prepare(c)
		c.Attack(func() { answer = send(way) })
		if answer.State != harness.Refused {
			break
		}
	}
	c.Assume(where.honest(c)).To(expect.BeAccepted(), "an honest proof, again")
	c.Refuses(answer, where.replayForm(check))
}

// elsewhere presents at a site the proofs that other endpoints accepted from the same key.
func elsewhere(s *expect.Suite, check attacks.Check, where site) {
	for _, from := range sources(s, where) {
		at := where.at
		at.Variant = strings.ReplaceAll("from "+from.at.Endpoint, " ", "-")
		s.It(check, at, func(c *expect.Case) {
			proof := capture(c, from)
			answer := c.Between(where.proven(c), func() harness.Outcome { return where.prepare(c)(verbatim(proof.Compact)) }, "a proof for this endpoint")
			where.unlessUnread(c, answer)
			c.Refuses(answer, where.replayForm(check))
		})
	}
}

// sources are one endpoint of each kind, at another address, where the same client proves the same key: by the same grant where a
// token goes along, because ath has to fit.
func sources(s *expect.Suite, where site) []site {
	var out []site
	for _, o := range sites(s) {
		fits := o.url != where.url && o.who.Client == where.who.Client && (o.place != attacks.AtResource || where.place == attacks.AtResource) &&
			(o.place != where.place || o.at.Grant == where.at.Grant)
		if fits && !slices.ContainsFunc(out, func(x site) bool { return x.place == o.place }) {
			out = append(out, o)
		}
	}
	return out
}

// otherClient records whether one client's jti stand in the way of another's.
func otherClient(s *expect.Suite, check attacks.Check, where site) {
	other := partner(s, where)
	if other == nil {
		return
	}
	s.It(check, where.at, func(c *expect.Case) {
		used := capture(c, *other)
		answer := c.Between(where.proven(c), func() harness.Outcome {
			return where.prepare(c)(func(p *harness.Proof) { p.Claims.Set("jti", used.Claims.Get("jti")) })
		}, "the honest proof")
		if answer.State == harness.Granted {
			c.Measured("told apart by the key")
			c.Passes("it was accepted: %s", answer)
			return
		}
		c.Refuses(answer, formOf(attacks.ProofAttack{Check: check}, where))
		c.Measured("one store for all keys")
	})
}

// partner is the same endpoint as another client uses it.
func partner(s *expect.Suite, where site) *site {
	for _, t := range s.All(func(t harness.Trial) bool {
		return t.Binding == harness.DPoPBound && t.Works == harness.Yes && t.Client != where.who.Client &&
			(where.place != attacks.AtPAR || t.CannotPush == "")
	}) {
		var other site
		switch where.place {
		case attacks.AtToken:
			other = tokenSite(s, t.Grant, t)
		case attacks.AtPAR:
			if t.Grant != harness.CodeGrant {
				continue
			}
			other = parSite(s, t)
		case attacks.AtResource:
			r := resourceOf(s, where)
			if r == nil || !t.Opened(r) {
				continue
			}
			other = resourceSite(s, t, r)
		}
		if other.url == where.url {
			return &other
		}
	}
	return nil
}
