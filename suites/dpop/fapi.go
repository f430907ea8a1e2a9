package dpop

import (
	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/harness/expect"
)

// fapi runs what the FAPI 2.0 Security Profile asks of proofs at the first endpoint that takes them.
func fapi(s *expect.Suite) {
	var first *site
	for _, where := range sites(s) {
		if where.place == attacks.AtToken && first == nil {
			first = &where
		}
	}
	for _, a := range attacks.FAPIProofs() {
		if first == nil {
			s.Skip(a.Check, expect.Place{Endpoint: "token"}, nowhere)
			continue
		}
		s.It(a.Check, expect.Place{Endpoint: "token"}, func(c *expect.Case) { proof(c, s, a, *first) })
	}
}
