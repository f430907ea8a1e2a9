package pkce

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strings"

	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/harness/expect"
)

// observed runs the single checks of PKCE, with one client: they look at what the server makes, whoever asks for it.
func observed(s *expect.Suite) {
	k := attacks.PKCESingles()
	t := anyCodeClient(s)
	authorize, token := expect.Place{Endpoint: "authorize"}, expect.Place{Endpoint: "token", Grant: harness.CodeGrant}
	if t == nil {
		s.Skip(k.Exposed, authorize, noCodeClient)
		s.Skip(k.ExposedPlain, authorize, noCodeClient)
		s.Skip(k.Guessed, token, noCodeClient)
		return
	}
	authorize.Client, token.Client = t.Client.Name, t.Client.Name
	who := s.Honest(t.Client, t.Binding)
	honest := func(c *expect.Case) func() harness.Outcome {
		return func() harness.Outcome { return flow(c, who, harness.AuthorizationRequest{}, nil, nil) }
	}
	s.It(k.Exposed, authorize, func(c *expect.Case) {
		c.Assume(honest(c)()).To(expect.BeAccepted(), "the honest flow")
		o := c.Authorize(harness.AuthorizationRequest{Who: who})
		c.Assume(o).To(expect.BeAccepted(), "the honest authorization request")
		exposed(c, o.Code, o.Code.PKCE.Challenge)
	})
	s.It(k.ExposedPlain, authorize, func(c *expect.Case) {
		pair := c.NewPKCE()
		pair.Challenge, pair.Method = pair.Verifier, "plain"
		o := c.Between(honest(c), func() harness.Outcome { return c.Authorize(harness.AuthorizationRequest{Who: who, PKCE: pair}) }, "the honest flow")
		if o.State == harness.Granted && o.Code != nil && o.Code.Code != "" {
			spent := c.Redeem(o.Code, harness.TokenRequest{Who: who})
			if spent.State == harness.Granted {
				exposed(c, o.Code, pair.Challenge)
				return
			}
			o = spent
		}
		c.Expect(o).To(expect.BeRefused())
		c.Passes("plain is refused (%s), so there is none to expose", o)
	})
	s.It(k.Guessed, token, func(c *expect.Case) { guess(c, who, honest(c)) })
}

// exposed looks for the challenge in what came back to the client.
func exposed(c *expect.Case, a *harness.Authorization, challenge string) {
	for name, values := range a.Response {
		for _, value := range values {
			if how := readable(value, challenge); how != "" {
				c.Fails("the challenge can be read from %s%s", name, how)
			}
		}
	}
	c.Passes("the challenge stands neither in the code nor in another parameter of the response")
}

// readable says how a value shows the challenge, or "": in the clear, or in a part of it that base64 or hexadecimal hides.
func readable(value, challenge string) string {
	sum, _ := base64.RawURLEncoding.DecodeString(challenge)
	shows := func(b []byte) bool {
		return bytes.Contains(b, []byte(challenge)) || len(sum) == sha256.Size && bytes.Contains(b, sum)
	}
	if shows([]byte(value)) {
		return " as it is"
	}
	for _, part := range append(strings.FieldsFunc(value, func(r rune) bool { return strings.ContainsRune(".~:,;|", r) }), value) {
		part = strings.TrimRight(part, "=")
		for how, decode := range map[string]func(string) ([]byte, error){"base64url": base64.RawURLEncoding.DecodeString, "base64": base64.RawStdEncoding.DecodeString, "hexadecimal": hex.DecodeString} {
			if b, err := decode(part); err == nil && shows(b) {
				return ", below " + how
			}
		}
	}
	return ""
}

// guess sends wrong verifiers for one code, and the right one then. Whether that still works is told: both are right.
func guess(c *expect.Case, who harness.Identity, honest func() harness.Outcome) {
	made, after := 0, harness.Outcome{}
	answer := c.Between(honest, func() harness.Outcome {
		o := c.Authorize(harness.AuthorizationRequest{Who: who})
		if o.State != harness.Granted || o.Code == nil {
			return prepared(o)
		}
		var last harness.Outcome
		for made < attacks.Guesses {
			made++
			last = c.Redeem(o.Code, harness.TokenRequest{Who: who, Change: attacks.WrongVerifier})
			if last.State != harness.Refused {
				return c.Loot(last, harness.CodeGrant)
			}
		}
		after = c.Redeem(o.Code, harness.TokenRequest{Who: who})
		return last
	}, "the honest flow")
	switch {
	case answer.Status == http.StatusTooManyRequests:
		c.Measured("the client is slowed down after %d wrong verifiers", made)
		c.Passes("no wrong verifier redeemed the code")
		return
	case after.State == harness.Granted:
		c.Measured("after %d wrong verifiers the right one redeems the code", made)
	case after.State == harness.Refused:
		c.Measured("after %d wrong verifiers the right one is refused as well (%s)", made, after)
	}
	c.Expect(answer).To(expect.BeRefused())
	c.Passes("%d wrong verifiers for one code were refused, the last with %s", made, answer)
}
