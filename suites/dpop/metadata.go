package dpop

import (
	"slices"
	"strings"

	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/harness/expect"
)

// metadata compares what the server says of proofs with the proofs that it takes.
func metadata(s *expect.Suite) {
	const member = "dpop_signing_alg_values_supported"
	m := attacks.ServerMetadata()
	bound := func(t harness.Trial) bool { return t.Binding == harness.DPoPBound }
	s.Document(m.DPoPAlgorithms, bound, func(c *expect.Case, d *harness.Metadata, _ *harness.Trial) {
		list, isList := d.Members[member].([]any)
		switch {
		case !d.Has(member):
			c.Fails("tokens are bound to the keys of proofs, and the metadata has no %s", member)
		case !isList || len(list) == 0 || len(list) != len(d.Strings(member)):
			c.Fails("%s is no array of strings with something in it", member)
		}
		c.Passes("%s is %q", member, d.Strings(member))
	})
	s.Document(m.DPoPSymmetric, bound, func(c *expect.Case, d *harness.Metadata, _ *harness.Trial) {
		for _, alg := range d.Strings(member) {
			if strings.EqualFold(alg, "none") || strings.HasPrefix(alg, "HS") {
				c.Fails("%s lists %s", member, alg)
			}
		}
		c.Passes("%s is %q", member, d.Strings(member))
	})
	s.Document(m.DPoPWork, bound, func(c *expect.Case, d *harness.Metadata, t *harness.Trial) {
		tried := []string{}
		for _, alg := range d.Strings(member) {
			key, err := c.MakeKey("listed "+alg, alg, 2048)
			if err != nil || slices.Contains(tried, alg) {
				continue
			}
			tried = append(tried, alg)
			who := s.Honest(t.Client, harness.DPoPBound)
			who.Key = key
			o := c.Obtain(who, t.Grant)
			if o.State == harness.Refused {
				c.Fails("%s lists %s, and a proof with it is refused: %s", member, alg, o)
			}
			c.Assume(o).To(expect.BeAccepted(), "a proof with "+alg)
		}
		if len(tried) == 0 {
			c.NotApplicable("discovered: %s lists no algorithm that can be tried", member)
		}
		c.Passes("proofs with %s are taken", strings.Join(tried, ", "))
	})
}
