package pkce

import (
	"slices"

	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/harness/expect"
)

// samples is how many values of a kind are looked at: enough to tell what they have in common from what differs.
const samples = 8

// guessable collects values of each kind that the server invents, one after the other, and looks at what differs between them. What a
// server gives out again on purpose (a token that is still good) counts once; a code or a request_uri must be new each time.
func guessable(f front, p attacks.PageChecks) {
	collect := func(who harness.Identity, at expect.Place, kind string, next func(c *expect.Case) (string, harness.Outcome)) {
		at.Variant = kind
		f.It(p.Guessable, at, func(c *expect.Case) {
			// A server that answers everything alike gives out nothing of worth.
			via := harness.FrontChannelRequest
			if at.Endpoint == "par" {
				via = harness.PushedRequest
			}
			c.Assume(c.Authorize(harness.AuthorizationRequest{Who: who, Via: via})).To(expect.BeAccepted(), "the honest authorization request")
			var values []string
			for range samples {
				value, o := next(c)
				c.Assume(o).To(expect.BeAccepted(), "the honest request")
				if value == "" {
					c.NotApplicable("observed: no %s came", kind)
				}
				values = append(values, value)
			}
			judgeValues(c, kind, values)
		})
	}
	collect(f.who, f.at, "code", func(c *expect.Case) (string, harness.Outcome) {
		o := f.ask(c, nil)
		if o.State != harness.Granted {
			return "", o
		}
		return o.Code.Code, o
	})
	token := expect.Place{Endpoint: "token", Grant: harness.CodeGrant, Client: f.trial.Client.Name}
	of := func(which func(*harness.Token) string) func(c *expect.Case) (string, harness.Outcome) {
		return func(c *expect.Case) (string, harness.Outcome) {
			o := c.Obtain(f.who, harness.CodeGrant)
			if o.State != harness.Granted {
				return "", o
			}
			return which(o.Token), o
		}
	}
	collect(f.who, token, "access_token", of(func(t *harness.Token) string { return t.AccessToken }))
	collect(f.who, token, "refresh_token", of(func(t *harness.Token) string { return t.RefreshToken }))
	pusher := f.Pusher(anyTrial)
	par := expect.Place{Endpoint: "par", Client: pusher.Client.Name}
	if why := f.Learned.Capabilities["par"]; f.Learned.Has("par") == harness.No {
		par.Variant = "request_uri"
		f.Skip(p.Guessable, par, "needs par; "+why.How)
		return
	}
	who := f.Honest(pusher.Client, pusher.Binding)
	collect(who, par, "request_uri", func(c *expect.Case) (string, harness.Outcome) {
		o := c.Push(harness.AuthorizationRequest{Who: who})
		return o.RequestURI, o
	})
}

func judgeValues(c *expect.Case, kind string, values []string) {
	distinct := slices.Compact(slices.Sorted(slices.Values(values)))
	if len(distinct) < len(values) && (kind == "code" || kind == "request_uri") {
		c.Fails("of %d values one after the other, %d were different", len(values), len(distinct))
	}
	if len(distinct) < samples/2 {
		c.NotApplicable("observed: the server gives out the same %s again (%d different ones of %d)", kind, len(distinct), len(values))
	}
	bits, what := harness.Room(distinct)
	if bits < attacks.SmallestRoom {
		c.Fails("there is room for %d bits of chance: of %d values one after the other, %s", bits, len(distinct), what)
	}
	c.Measured("room for %d bits at most: %s", bits, what)
	c.Passes("there is room for %d bits of chance", bits)
	if bits < attacks.AskedRoom {
		c.Warns("there is room for %d bits of chance (%s), and the clause asks for %d", bits, what, attacks.AskedRoom)
	}
}
