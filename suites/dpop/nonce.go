package dpop

import (
	"encoding/base64"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/harness/expect"
)

const noNonces = "needs nonces; observed: a proof without nonce was accepted here, and none was handed out"

// takesNonces reports whether a site asks for nonces, or hands them out at least.
func takesNonces(s *expect.Suite, where site) bool {
	return s.DemandsNonce(where.url) != harness.No || s.OffersNonce(where.url)
}

// withNonce runs an attack on the nonce of a proof between two honest proofs.
func withNonce(c *expect.Case, where site, change harness.ProofChange) harness.Outcome {
	honest := where.proven(c)
	c.Assume(honest()).To(expect.BeAccepted(), "a proof with the nonce")
	send := where.prepare(c)
	var answer harness.Outcome
	c.Attack(func() { answer = send(change) })
	c.Assume(honest()).To(expect.BeAccepted(), "a proof with the nonce, again")
	return answer
}

func withoutNonce(p *harness.Proof) {
	p.Claims.Drop("nonce")
	p.Altered("nonce, left out")
}

// nonces checks what a server does that demands nonces (RFC 9449 §8, §9, §11.3).
func nonces(s *expect.Suite) {
	k := attacks.Keys()
	all := []attacks.Check{k.NonceMissing, k.NonceOne, k.NonceRandom, k.NonceDrop}
	crossed := false
	for _, where := range sites(s) {
		if !takesNonces(s, where) {
			for _, check := range all {
				s.Skip(check, where.at, noNonces)
			}
			continue
		}
		form := where.form(k.NonceMissing.Refusal)
		if s.DemandsNonce(where.url) == harness.No {
			s.Skip(k.NonceMissing, where.at, "needs a server that asks for nonces; observed: this one hands them out and accepts proofs without")
		} else {
			s.It(k.NonceMissing, where.at, func(c *expect.Case) {
				answer := withNonce(c, where, withoutNonce)
				c.Expect(answer).To(expect.BeRefused())
				if answer.Answer != nil && answer.Answer.Header.Get("DPoP-Nonce") == "" {
					c.Fails("the refusal (%s) brings no DPoP-Nonce: a client cannot go on", answer)
				}
				c.Prefer(answer).To(expect.BeRefusedAs(form))
			})
		}
		s.It(k.NonceDrop, where.at, func(c *expect.Case) { c.Refuses(withNonce(c, where, withoutNonce), form) })
		s.It(k.NonceOne, where.at, func(c *expect.Case) {
			answer := withNonce(c, where, withoutNonce)
			if answer.State == harness.Unknown || answer.Answer == nil {
				c.Unlearned("%s", answer)
			}
			if n := len(answer.Answer.Header.Values("DPoP-Nonce")); n > 1 {
				c.Fails("%d DPoP-Nonce header fields came with one answer", n)
			}
			c.Passes("one DPoP-Nonce header field came")
		})
		s.It(k.NonceRandom, where.at, func(c *expect.Case) {
			c.Refuses(withNonce(c, where, func(p *harness.Proof) { p.Claims.Set("nonce", harness.Random(24)) }), form)
		})
		other := otherNonce(s, where)
		if other == "" {
			continue
		}
		crossed = true
		s.It(k.NonceOfOther, where.at, func(c *expect.Case) {
			c.Refuses(withNonce(c, where, func(p *harness.Proof) { p.Claims.Set("nonce", c.NonceOf(other)) }), form)
		})
	}
	if !crossed {
		s.Skip(k.NonceOfOther, expect.Place{Endpoint: "token"}, "observed: authorization server and resources are one server, or only one of them demands nonces")
	}
	if len(sites(s)) == 0 {
		for _, check := range all {
			s.Skip(check, expect.Place{Endpoint: "token"}, nowhere)
		}
	}
}

// otherNonce is an address of the other kind of server that demands nonces too, "" when there is none.
func otherNonce(s *expect.Suite, where site) string {
	all := sites(s)
	i := slices.IndexFunc(all, func(o site) bool {
		return (o.place == attacks.AtResource) != (where.place == attacks.AtResource) && !s.OneServer(o.url, where.url) && s.DemandsNonce(o.url) != harness.No
	})
	if i < 0 {
		return ""
	}
	return all[i].url
}

// wrongNonces runs the rows of wrong nonces, once for each kind of endpoint.
func wrongNonces(s *expect.Suite) {
	for _, a := range attacks.Nonces() {
		everyKind(s, a.Check, func(where site) {
			if a.Absent && s.DemandsNonce(where.url) == harness.No {
				s.Skip(a.Check, where.at, "needs a server that asks for nonces; observed: this one accepts proofs without")
				return
			}
			s.It(a.Check, where.at, func(c *expect.Case) { c.Refuses(withNonce(c, where, a.Change), where.form(a.Refusal)) })
		})
	}
	rules := attacks.NonceRules()
	everyKind(s, rules.Characters, func(where site) { s.It(rules.Characters, where.at, func(c *expect.Case) { nonceCharacters(c, where) }) })
	everyKind(s, rules.Predictable, func(where site) { s.It(rules.Predictable, where.at, func(c *expect.Case) { nonceGuessed(c, where) }) })
	everyKind(s, rules.Reuse, func(where site) { s.It(rules.Reuse, where.at, func(c *expect.Case) { nonceAgain(c, where) }) })
	keepsGrant(s, rules.KeepsGrant)
}

// everyKind declares a check of nonces at the first endpoint of each kind that takes them; the others share their server's nonces.
func everyKind(s *expect.Suite, check attacks.Check, declare func(site)) {
	var done []attacks.Place
	for _, where := range sites(s) {
		if takesNonces(s, where) && !slices.Contains(done, where.place) {
			done = append(done, where.place)
			declare(where)
		}
	}
	if len(done) == 0 {
		s.Skip(check, expect.Place{Endpoint: "token"}, noNonces)
	}
}

// keepsGrant lets a code or refresh token come with a proof without nonce first, as a client does that has none yet.
func keepsGrant(s *expect.Suite, check attacks.Check) {
	placed := false
	for _, where := range sites(s) {
		if where.place != attacks.AtToken || where.at.Grant == harness.ClientCredentialsGrant || s.DemandsNonce(where.url) == harness.No {
			continue
		}
		placed = true
		s.It(check, where.at, func(c *expect.Case) {
			c.Assume(where.honest(c)).To(expect.BeAccepted(), "a proof with the nonce")
			send := where.prepare(c)
			var first, second harness.Outcome
			c.Attack(func() { first = send(withoutNonce) })
			if first.State == harness.Granted {
				c.NotApplicable("observed: a proof without nonce is accepted here")
			}
			c.Assume(first).To(expect.BeRefused(), "a proof without nonce")
			c.Attack(func() { second = send(nil) })
			c.Assume(where.honest(c)).To(expect.BeAccepted(), "a proof with the nonce, again")
			c.Expect(second).To(expect.BeAccepted())
			c.Passes("after the challenge (%s) the same grant was accepted with a nonce", first)
		})
	}
	if !placed {
		s.Skip(check, expect.Place{Endpoint: "token"}, "needs a token endpoint that asks for nonces, and a client with codes")
	}
}

// nonceCharacters looks at the nonce that came last (RFC 9449 §8.1: NQCHAR).
func nonceCharacters(c *expect.Case, where site) {
	c.Assume(where.honest(c)).To(expect.BeAccepted(), "a proof with the nonce")
	nonce := c.NonceOf(where.url)
	if i := strings.IndexFunc(nonce, func(r rune) bool { return r < 0x21 || r > 0x7e || r == '"' || r == '\\' }); i >= 0 {
		c.Fails("a nonce holds the character %q", nonce[i])
	}
	c.Measured("%d characters", len(nonce))
	c.Passes("a nonce has allowed characters only")
}

// nonceSample is how many nonces are looked at.
const nonceSample = 8

// nonceGuessed collects nonces and looks for counters and times in clear. What is encrypted looks random.
func nonceGuessed(c *expect.Case, where site) {
	var seen []string
	for range nonceSample {
		c.Assume(where.honest(c)).To(expect.BeAccepted(), "a proof with the nonce")
		if nonce := c.NonceOf(where.url); !slices.Contains(seen, nonce) {
			seen = append(seen, nonce)
		}
	}
	for i, nonce := range seen {
		if len(nonce) < 8 {
			c.Fails("a nonce has %d characters only", len(nonce))
		}
		value, ok := numberIn(nonce)
		if !ok {
			continue
		}
		for _, unit := range []time.Duration{time.Second, time.Millisecond, time.Microsecond, time.Nanosecond} {
			if at := time.Unix(0, 0).Add(time.Duration(value) * unit); value < int64(1<<62)/int64(unit) && time.Since(at).Abs() < 24*time.Hour {
				c.Fails("a nonce is the time of day in clear")
			}
		}
		if i == 0 {
			continue
		}
		if before, ok := numberIn(seen[i-1]); ok && value > before && value-before < 1000 {
			c.Fails("nonces count: %d is followed by %d", before, value)
		}
	}
	c.Measured("%d different ones in %d answers", len(seen), nonceSample)
	c.Passes("neither counter nor time in clear was seen in %d nonces", len(seen))
}

// numberIn reads a nonce as a number, in decimal or hexadecimal, also when it is base64 of that.
func numberIn(nonce string) (int64, bool) {
	texts := []string{nonce}
	if raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(nonce, "=")); err == nil {
		texts = append(texts, string(raw))
	}
	for _, text := range texts {
		if n, err := strconv.ParseInt(text, 10, 64); err == nil && n > 0 {
			return n, true
		}
		if raw, err := hex.DecodeString(text); err == nil && len(raw) == 8 {
			if n, err := strconv.ParseInt(text, 16, 64); err == nil && n > 0 {
				return n, true
			}
		}
	}
	return 0, false
}

// nonceAgain uses the nonce of an accepted proof for another one, after the server handed out a newer one. It is only measured.
func nonceAgain(c *expect.Case, where site) {
	answer, newer := nonceUsedAgain(c, where)
	c.Assume(where.honest(c)).To(expect.BeAccepted(), "a proof with the nonce, again")
	switch {
	case answer.State == harness.Unknown:
		c.Unlearned("%s", answer)
	case answer.State == harness.Refused:
		c.Measured("a nonce works once")
	case newer:
		c.Measured("a nonce works again, next to newer ones")
	default:
		c.Measured("one nonce serves many proofs")
	}
	c.Passes("measured only: both are legitimate")
}

// nonceUsedAgain makes a new proof with the nonce of one that was accepted; newer says that another nonce was handed out since.
func nonceUsedAgain(c *expect.Case, where site) (answer harness.Outcome, newer bool) {
	used := ""
	remember := func(p *harness.Proof) { used, _ = p.Claims.Get("nonce").(string) }
	first, second := where.prepare(c), where.prepare(c)
	c.Assume(first(remember)).To(expect.BeAccepted(), "a proof with the nonce")
	newer = c.NonceOf(where.url) != used
	c.Attack(func() {
		answer = second(func(p *harness.Proof) {
			p.Claims.Set("nonce", used)
			p.Pin("nonce, used before")
		})
	})
	if used == "" {
		return harness.Outcome{At: answer.At, Why: "the honest proof had no nonce"}, false
	}
	return answer, newer
}

// AgedSpecs declares the checks of nonces that were handed out before the first check. They are declared after all others.
func AgedSpecs(s *expect.Suite) {
	check := attacks.Aged().Nonce
	if s.Learned.Has("dpop") == harness.No {
		return // said by Specs
	}
	watched(s)
	placed := false
	for _, where := range sites(s) {
		placed = true
		if !takesNonces(s, where) {
			s.Skip(check, where.at, noNonces)
			continue
		}
		s.It(check, where.at, func(c *expect.Case) {
			old := s.Aged.Nonce(where.url)
			if old == "" {
				c.Unlearned("no nonce was handed out before the first check")
			}
			c.GrownOld(s.Aged.Made.Add(attacks.NonceAge))
			answer := withNonce(c, where, func(p *harness.Proof) {
				p.Claims.Set("nonce", old)
				p.Pin("nonce, an old one")
			})
			c.Measured("a nonce of %s", attacks.NonceAge)
			c.Refuses(answer, where.form(check.Refusal))
		})
	}
	if !placed {
		s.Skip(check, expect.Place{Endpoint: "token"}, nowhere)
	}
}
