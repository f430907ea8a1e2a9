package expect

import (
	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/harness"
)

// Document declares a check of the metadata as the server serves it: what the target file says of the server is not its word. The
// control is an honest token of a client that fits, because any file server can serve a document.
func (s *Suite) Document(check attacks.Check, fits func(harness.Trial) bool, body func(c *Case, document *harness.Metadata, t *harness.Trial)) {
	at := Place{Endpoint: "metadata"}
	t := s.Pick(fits)
	if t == nil {
		s.Skip(check, at, "no client of the target file could get a token to compare the metadata with")
		return
	}
	s.It(check, at, func(c *Case) {
		c.Assume(c.Obtained(s.Honest(t.Client, t.Binding), t.Grant)).To(BeAccepted(), "an honest token by "+t.Grant)
		document, _ := c.Document(c.MetadataAddresses()[0])
		if document.Problem != "" {
			document, _ = c.Document(c.MetadataAddresses()[1])
		}
		if document.Problem != "" && check.Needs != "" {
			c.NotApplicable("observed: the server serves no metadata (%s)", document.Problem)
		}
		body(c, document, t)
	})
}
