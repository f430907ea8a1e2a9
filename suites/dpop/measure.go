package dpop

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/harness/expect"
)

// measurements learns how proofs are judged at the token endpoint and at every resource.
func measurements(s *expect.Suite) {
	m := attacks.Measured()
	for _, row := range []struct {
		check   attacks.Check
		measure func(*expect.Case, *expect.Suite, site)
	}{{m.Window, window}, {m.Algorithms, algorithms}, {m.Nonces, nonceMode}} {
		places := simplest(s)
		for _, where := range places {
			s.It(row.check, where.at, func(c *expect.Case) {
				c.Assume(where.proven(c)()).To(expect.BeAccepted(), "the honest proof")
				row.measure(c, s, where)
			})
		}
		if len(places) == 0 {
			s.Skip(row.check, expect.Place{Endpoint: "token"}, nowhere)
		}
	}
}

// ever is longer than any window.
const ever = 365 * 24 * time.Hour

// window finds the edges of what iat may be. Where nonces are only offered it is measured without one; where they are demanded, iat need
// not be looked at (RFC 9449 §4.3 item 11).
func window(c *expect.Case, s *expect.Suite, where site) {
	demanded := s.DemandsNonce(where.url) != harness.No
	how := "by bisection, with a new proof for each iat"
	switch {
	case demanded:
		how += ", next to a fresh nonce"
	case s.OffersNonce(where.url):
		how += ", without a nonce"
	}
	var ahead, off time.Duration // of the server's clock
	edge := func(direction time.Duration) time.Duration {
		return bisect(func(offset time.Duration) bool {
			o := attempt(c, where, func(p *harness.Proof) {
				p.Claims.Set("iat", time.Now().Add(direction*offset).Unix())
				if !demanded {
					withoutNonce(p)
				}
			})
			if o.State == harness.Unknown {
				c.Unlearned("a proof dated %s from now: %s", direction*offset, o)
			}
			if o.State == harness.Refused {
				ahead, off, _ = o.Answer.Skew()
			}
			return o.State == harness.Granted
		})
	}
	past, future := edge(-1), edge(1)
	c.Assume(where.honest(c)).To(expect.BeAccepted(), "the honest proof, again")
	for _, side := range []struct {
		name string
		edge time.Duration
	}{{"iat accepted, back", past}, {"iat accepted, ahead", future}} {
		value := inSeconds(side.edge)
		switch {
		case side.edge < ever:
		case demanded:
			value = "any: the nonce decides"
		default:
			value = "any: a year at least"
		}
		c.Value(harness.Value{Name: side.name, Value: value, How: how})
	}
	// What counts is the distance from the server's own time.
	past, future = past+ahead-off, future-ahead-off
	switch {
	case demanded:
		c.Passes("measured only: a fresh nonce is demanded, by which alone a server may judge")
	case future > attacks.IatFuture+attacks.IatSlack:
		c.Fails("a proof is accepted that is dated %s ahead of the server's time; the RFC speaks of seconds or minutes, and for clocks that differ one minute is plenty", inSeconds(future))
	case past > attacks.IatPast+attacks.IatSlack:
		c.Fails("a proof is accepted that is dated %s back; the RFC speaks of seconds or minutes", inSeconds(past))
	default:
		c.Passes("the window is minutes wide at most")
	}
}

// attempt sends a proof with a change as the attack, beside fresh honest material.
func attempt(c *expect.Case, where site, change harness.ProofChange) (o harness.Outcome) {
	send := where.prepare(c)
	c.Attack(func() { o = send(change) })
	return o
}

// bisect finds the longest offset that is accepted, to the second, or roughly where it is hours; none at all always is.
func bisect(accepted func(time.Duration) bool) time.Duration {
	if accepted(ever) {
		return ever
	}
	low, high, step := time.Duration(0), time.Hour, time.Second
	if accepted(high) {
		low, high, step = high, ever, time.Hour
	}
	for high-low > step {
		middle := ((low + high) / 2).Truncate(time.Second)
		if accepted(middle) {
			low = middle
		} else {
			high = middle
		}
	}
	return low
}

func inSeconds(d time.Duration) string { return fmt.Sprintf("%.0f s", d.Seconds()) }

// algorithms tries a proof with a key for each algorithm; at a resource with a token that is bound to that key.
func algorithms(c *expect.Case, s *expect.Suite, where site) {
	listed := s.Metadata.Strings("dpop_signing_alg_values_supported")
	if r := resourceOf(s, where); where.place == attacks.AtResource {
		listed = nil
		var challenge harness.Outcome
		c.Attack(func() { challenge = c.Call(harness.ResourceCall{Who: where.who, Token: c.UnknownToken(), Resource: r}) })
		listed = strings.Fields(challenge.ChallengeParameter("algs")) // RFC 9449 §7.1
	}
	var tried, accepted []string
	for _, alg := range slices.Concat(attacks.ProofAlgorithms(), listed) {
		key, err := c.KeyOf(alg)
		if err != nil || slices.Contains(tried, alg) {
			continue
		}
		who := where.who
		who.Key = key
		var o harness.Outcome
		c.Attack(func() {
			if o = c.Obtain(who, where.at.Grant); where.place == attacks.AtResource && o.State == harness.Granted {
				o = c.Call(harness.ResourceCall{Who: who, Token: o.Token.AccessToken, Resource: resourceOf(s, where)})
			}
		})
		switch o.State {
		case harness.Unknown:
			c.Unlearned("a proof with %s: %s", alg, o)
		case harness.Granted:
			accepted = append(accepted, alg)
		}
		tried = append(tried, alg)
	}
	c.Assume(where.honest(c)).To(expect.BeAccepted(), "the honest proof, again")
	stated, how := "", "a request with a key for each of "+strings.Join(tried, ", ")
	if len(listed) > 0 {
		stated = strings.Join(listed, ", ")
	}
	if where.place == attacks.AtResource {
		how += ", and a token that is bound to it, where one could be had"
	}
	c.Value(harness.Value{Name: "algorithms of proofs", Value: strings.Join(accepted, ", "), Stated: stated, How: how})
	c.Passes("measured only")
}

// nonceMode says whether a server uses nonces, and how often one works.
func nonceMode(c *expect.Case, s *expect.Suite, where site) {
	bare := attempt(c, where, withoutNonce)
	mode := "off"
	switch {
	case bare.State == harness.Unknown:
		c.Unlearned("a proof without nonce: %s", bare)
	case bare.State == harness.Refused:
		mode = "required"
	case s.OffersNonce(where.url):
		mode = "offered"
	}
	how := "a proof without nonce"
	if mode != "off" {
		how += ", and one with a nonce that was used before"
		again, _ := nonceUsedAgain(c, where)
		switch again.State {
		case harness.Refused:
			mode += ", each works once"
		case harness.Granted:
			mode += ", one works again"
		}
	}
	c.Assume(where.honest(c)).To(expect.BeAccepted(), "the honest proof, again")
	c.Value(harness.Value{Name: "nonces", Value: mode, How: how})
	c.Passes("measured only: each way is sound")
}

// watched sees proofs and nonces grow old.
func watched(s *expect.Suite) {
	m := attacks.Measured()
	places := simplest(s)
	for _, where := range places {
		if takesNonces(s, where) {
			s.Watch(m.NonceLives, where.at, harness.Refused, func(c *expect.Case) []expect.Try { return nonceTries(c, where) }, func(c *expect.Case, w expect.Life) {
				c.Assume(w.First()).To(expect.BeAccepted(), "a nonce used at once")
				c.Assume(where.honest(c)).To(expect.BeAccepted(), "a proof with a new nonce")
				c.Value(harness.Value{Name: "lifetime of a nonce", Value: w.Span(), How: "nonces of one time, each used at another age"})
				c.Passes("measured only")
			})
		} else {
			s.Skip(m.NonceLives, where.at, noNonces)
		}
		s.Watch(m.ReplayLate, where.at, harness.Granted, func(c *expect.Case) []expect.Try { return replayTries(c, where) }, func(c *expect.Case, w expect.Life) {
			c.Assume(where.honest(c)).To(expect.BeAccepted(), "an honest proof, again")
			answer := w.Last()
			c.Value(harness.Value{Name: "replay of a proof", Value: w.Refused(), How: "one proof, dated as far ahead as was accepted, again at several ages"})
			if answer.State == harness.Granted && len(w.Samples) == 1 {
				c.NotApplicable("observed: the very same proof is accepted again at once; see %s", attacks.Keys().Replay.ID)
			}
			c.Refuses(answer, where.replayForm(m.ReplayLate))
		})
	}
	if len(places) == 0 {
		s.Skip(m.NonceLives, expect.Place{Endpoint: "token"}, nowhere)
		s.Skip(m.ReplayLate, expect.Place{Endpoint: "token"}, nowhere)
	}
}

// nonceTries collects nonces, one for each age, the one that is used at once last: a server may take each once only, and for seconds.
// Asking without one brings the next.
func nonceTries(c *expect.Case, where site) []expect.Try {
	c.Assume(where.honest(c)).To(expect.BeAccepted(), "the honest proof")
	var tries []expect.Try
	for _, age := range slices.Backward(attacks.WatchedAges()) {
		attempt(c, where, withoutNonce)
		nonce := c.NonceOf(where.url)
		if nonce == "" {
			c.Unlearned("no nonce was handed out")
		}
		tries = append(tries, expect.Try{Age: age, Use: func(c *expect.Case) harness.Outcome {
			c.Forget()
			return attempt(c, where, func(p *harness.Proof) {
				p.Claims.Set("nonce", nonce)
				p.Pin("nonce, of an age")
			})
		}})
	}
	return tries
}

// replayTries lets a proof be accepted that is dated as far ahead as the server allows, so that it stays fresh for long, and uses it again
// while its access token lives.
func replayTries(c *expect.Case, where site) []expect.Try {
	c.Assume(where.honest(c)).To(expect.BeAccepted(), "the honest proof")
	proof := &attacks.Captured{}
	for _, ahead := range []time.Duration{attacks.IatFuture, time.Minute, 10 * time.Second, 0} {
		first := attempt(c, where, func(p *harness.Proof) {
			p.Claims.Set("iat", time.Now().Add(ahead).Unix())
			proof.Capture(p)
		})
		if first.State == harness.Granted {
			break
		}
		if ahead == 0 {
			c.Unlearned("the honest proof: %s", first)
		}
	}
	var tries []expect.Try
	for _, age := range attacks.WatchedAges() {
		if life := c.KeptLifetime(where.who, where.at.Grant); where.place == attacks.AtResource && life > 0 && age+attacks.IatSlack > life {
			break
		}
		tries = append(tries, expect.Try{Age: age, Use: func(c *expect.Case) harness.Outcome { return attempt(c, where, verbatim(proof.Compact)) }})
	}
	return tries
}
