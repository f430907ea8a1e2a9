package pkce

import (
	"fmt"
	"slices"
	"strings"

	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/harness/expect"
)

// repeats runs the rows of repeated parameters, with one client of each kind: what a server does with a list is the same for each of a kind.
func repeats(s *expect.Suite) {
	for _, a := range attacks.Repeats() {
		trials := clientsOf(s, attacks.PublicAndConfidential)
		if len(trials) == 0 {
			s.Skip(a.Check, expect.Place{Endpoint: "authorize"}, noCodeClient)
		}
		for _, t := range trials {
			s.It(a.Check, expect.Place{Endpoint: "authorize", Client: t.Client.Name}, func(c *expect.Case) { repeat(c, a, s.Honest(t.Client, t.Binding)) })
		}
	}
}

func repeat(c *expect.Case, a attacks.RepeatedAttack, who harness.Identity) {
	honest := c.Proven(fmt.Sprintf("flow of %s , pushed false", who.Client.Name), func() harness.Outcome {
		return flow(c, who, harness.AuthorizationRequest{}, nil, nil)
	})
	mine := &party{transaction: &harness.Authorization{PKCE: c.NewPKCE()}}
	try := func(authorize, redeem harness.Change) harness.Outcome {
		return flow(c, who, harness.AuthorizationRequest{Who: who, Change: authorize}, redeem, mine)
	}
	var counted []attacks.RepeatedValue
	answer := c.Between(honest, func() harness.Outcome {
		var last harness.Outcome
		for _, authorize := range a.Authorize {
			for _, redeem := range a.Redeem {
				if last = try(authorize, redeem); last.State != harness.Refused {
					return last
				}
			}
			if last.At != "the token endpoint" {
				continue // there was no code
			}
			var here []attacks.RepeatedValue
			for _, value := range a.Values {
				switch o := try(authorize, value.Redeem); o.State {
				case harness.Unknown:
					return o
				case harness.Granted:
					if here = append(here, value); len(here) == len(a.Values) {
						o.Got += "; " + told(here) + " count at once"
						return o
					}
				}
			}
			counted = append(counted, here...)
		}
		return last
	}, "the honest flow")
	c.Refuses(answer, formAt(attacks.CodeAttack{Check: a.Check}, answer))
	for _, value := range counted {
		alone := try(value.Alone, value.Redeem)
		if alone.State == harness.Refused {
			c.Fails("%s counted where it came twice, and is refused where it comes alone (%s)", value.Name, alone)
		}
		c.Assume(alone).To(expect.BeAccepted(), value.Name+" alone")
	}
	if len(counted) > 0 {
		c.Warns("the request was not refused; one value counted at a time, and was enforced: %s", told(counted))
	}
}

// told names values.
func told(values []attacks.RepeatedValue) string {
	var out []string
	for _, v := range values {
		out = append(out, v.Name)
	}
	return strings.Join(slices.Compact(out), " and ")
}
