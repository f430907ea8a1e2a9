package pkce

import (
	"encoding/json"
	"mime"
	"net/url"
	"slices"
	"strings"

	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/harness/expect"
)

// metadata compares what the server says of itself with what it does.
func metadata(s *expect.Suite) {
	m := attacks.ServerMetadata()
	anyone := func(harness.Trial) bool { return true }
	codes := func(t harness.Trial) bool { return t.Grant == harness.CodeGrant }
	for _, a := range attacks.MetadataHeaders() {
		s.Document(a.Check, anyone, func(c *expect.Case, d *harness.Metadata, _ *harness.Trial) { steered(c, d, a.Field) })
	}
	s.Document(m.Location, anyone, func(c *expect.Case, d *harness.Metadata, _ *harness.Trial) { location(c, s, d) })
	s.Document(m.Issuer, anyone, issuer)
	s.Document(m.Keys, anyone, publicKeys)
	s.Document(m.PKCEMethods, codes, func(c *expect.Case, d *harness.Metadata, _ *harness.Trial) {
		switch listed := d.Strings("code_challenge_methods_supported"); {
		case !d.Has("code_challenge_methods_supported"):
			c.Fails("the metadata has no code_challenge_methods_supported")
		case !slices.Contains(listed, "S256"):
			c.Fails("code_challenge_methods_supported is %q; S256 works and is not in it", listed)
		}
		c.Passes("S256 is announced, and works")
	})
	s.Document(m.PKCEPlain, codes, func(c *expect.Case, d *harness.Metadata, _ *harness.Trial) {
		if slices.Contains(d.Strings("code_challenge_methods_supported"), "plain") {
			c.Fails("code_challenge_methods_supported lists plain")
		}
		c.Passes("plain is not announced")
	})
	s.Document(m.AuthAlgorithms, anyone, func(c *expect.Case, d *harness.Metadata, _ *harness.Trial) {
		const member = "token_endpoint_auth_signing_alg_values_supported"
		listed := d.Strings(member)
		signs := slices.ContainsFunc(d.Strings("token_endpoint_auth_methods_supported"), func(m string) bool { return strings.HasSuffix(m, "_jwt") })
		switch {
		case slices.Contains(listed, "none"):
			c.Fails("%s lists none", member)
		case signs && len(listed) == 0 && d.From != c.MetadataAddresses()[0]:
			c.NotApplicable("discovered: the metadata is an OpenID Provider's only, where %s is OPTIONAL (OpenID Connect Discovery 1.0 §3)", member)
		case signs && len(listed) == 0:
			c.Fails("token_endpoint_auth_methods_supported lists client assertions, and %s is missing or empty", member)
		case len(listed) == 0:
			c.NotApplicable("discovered: no method with client assertions is announced")
		}
		c.Passes("%s is %q", member, listed)
	})
	s.Document(m.Iss, codes, func(c *expect.Case, d *harness.Metadata, t *harness.Trial) {
		o := c.Authorize(harness.AuthorizationRequest{Who: s.Honest(t.Client, t.Binding)})
		c.Assume(o).To(expect.BeAccepted(), "the honest authorization request")
		sent, announced := o.Code.Response.Get("iss") != "", d.True("authorization_response_iss_parameter_supported")
		switch {
		case sent && !announced:
			c.Fails("iss is sent, and authorization_response_iss_parameter_supported is not true")
		case announced && !sent:
			c.Fails("authorization_response_iss_parameter_supported is true, and iss is not sent")
		}
		c.Passes("iss announced: %v, sent: %v", announced, sent)
	})
	s.Document(m.PAR, func(t harness.Trial) bool { return codes(t) && t.CannotPush == "" }, func(c *expect.Case, d *harness.Metadata, t *harness.Trial) { pushedEndpoint(c, s, d, t) })
}

// steered asks for the document with a header field, under a query that nobody else asks for: should a cache keep the answer, no
// one gets it but the control.
func steered(c *expect.Case, d *harness.Metadata, field harness.Field) {
	plain, own := d.From+"?popcheck="+harness.Random(8), d.From+"?popcheck="+harness.Random(8)
	before, answer := c.Document(plain)
	if before.Problem != "" {
		if answer.Failure != nil {
			c.Unlearned("the document: %s", before.Problem)
		}
		c.NotApplicable("observed: the document is not served with a query (%s), and without one a cache might keep the attack", before.Problem)
	}
	var got *harness.Answer
	c.Attack(func() { _, got = c.Document(own, field) })
	after, answer := c.Document(own)
	switch {
	case field.Value != "http" && names(got, field.Value):
		if names(answer, field.Value) {
			c.Fails("with %s the document names %s, and goes on doing so without it: a cache keeps it", field.Name, field.Value)
		}
		c.Fails("with %s the document names %s", field.Name, field.Value)
	case field.Value == "http" && strings.HasPrefix(before.String("issuer"), "https://") && plainAddress(got):
		c.Fails("with %s: http the document names http addresses", field.Name)
	case after.Problem != "":
		c.Unlearned("the document, again: %s", after.Problem)
	case !got.OK() && got.Failure.Kind != harness.Dropped && got.Failure.Kind != harness.RefusedCertificate, got.Status == 429 || got.Status >= 500:
		c.Unlearned("the document with %s: HTTP %d %v", field.Name, got.Status, got.Failure)
	}
	c.Passes("with %s the document is refused, or names what it names without", field.Name)
}

// names reports whether an answer leads to what an attacker wrote: in an address of the document or of a redirect.
func names(a *harness.Answer, what string) bool {
	what = strings.TrimPrefix(strings.TrimPrefix(what, "host="), "/")
	return slices.ContainsFunc(addresses(a), func(s string) bool { return strings.Contains(s, what) })
}

func plainAddress(a *harness.Answer) bool {
	return slices.ContainsFunc(addresses(a), func(s string) bool { return strings.HasPrefix(s, "http://") })
}

// addresses are those of the members that clients use: issuer, jwks_uri, the endpoints and their aliases.
func addresses(a *harness.Answer) []string {
	out := a.Header.Values("Location")
	var members map[string]any
	json.Unmarshal(a.Body, &members)
	aliases, _ := members["mtls_endpoint_aliases"].(map[string]any)
	for _, all := range []map[string]any{members, aliases} {
		for name, value := range all {
			if s, ok := value.(string); ok && (name == "issuer" || name == "jwks_uri" || strings.HasSuffix(name, "_endpoint")) {
				out = append(out, s)
			}
		}
	}
	return out
}

// location looks for the document where a client looks first. A server that has it only where OpenID Connect puts it is found by
// most clients: that is a warning.
func location(c *expect.Case, s *expect.Suite, d *harness.Metadata) {
	if d.Problem != "" {
		if declared, ok := c.Target.Capabilities["as-metadata"]; ok && declared {
			c.Fails("as-metadata is declared, and no metadata is served: %s", d.Problem)
		}
		c.NotApplicable("observed: the server serves no metadata (%s)", d.Problem)
	}
	_, answer := c.Document(d.From)
	media, _, _ := mime.ParseMediaType(answer.Header.Get("Content-Type"))
	var empty []string
	for name, value := range d.Members {
		if list, ok := value.([]any); ok && len(list) == 0 {
			empty = append(empty, name)
		}
	}
	slices.Sort(empty)
	switch {
	case d.From != c.MetadataAddresses()[0]:
		c.Warns("the document is served at %s only", d.From)
	case media != "application/json":
		c.Warns("the document is served as %q, not application/json (RFC 8414 §3.2)", media)
	case len(empty) > 0:
		c.Warns("members without elements are not left out (RFC 8414 §3.2): %s", strings.Join(empty, ", "))
	default:
		c.Passes("served at %s", d.From)
	}
}

func issuer(c *expect.Case, d *harness.Metadata, _ *harness.Trial) {
	got, want := d.String("issuer"), c.Target.Issuer
	u, err := url.Parse(got)
	switch {
	case got == want && err == nil && u.RawQuery == "" && u.Fragment == "":
		c.Passes("issuer is %s", got)
	case strings.TrimSuffix(got, "/") == strings.TrimSuffix(want, "/"):
		c.Warns("issuer is %q, the document is that of %q: they differ by a slash", got, want)
	default:
		c.Fails("issuer is %q, the document is that of %q", got, want)
	}
}

// publicKeys looks for members that only a private or a symmetric key has (RFC 7518 §6).
func publicKeys(c *expect.Case, d *harness.Metadata, _ *harness.Trial) {
	address := d.String("jwks_uri")
	switch {
	case address == "":
		c.NotApplicable("discovered: the metadata has no jwks_uri")
	case strings.HasPrefix(address, "http://") && strings.HasPrefix(d.String("issuer"), "https://"):
		c.Fails("jwks_uri is %s, which is not https", address)
	}
	answer := c.Do(harness.Request{Step: "key set", Method: "GET", URL: address, Header: []harness.Field{{Name: "Accept", Value: "application/json"}}})
	if f := answer.Failure; f != nil {
		if f.Kind == harness.NotNamed {
			c.NotApplicable("observed: %s", f.Detail)
		}
		c.Unlearned("the key set: %s", f.Error())
	}
	var set struct{ Keys []map[string]any } // a server whose tokens are opaque may have none
	if answer.Status != 200 || json.Unmarshal(answer.Body, &set) != nil || set.Keys == nil {
		c.Unlearned("the key set cannot be read: HTTP %d", answer.Status)
	}
	for _, key := range set.Keys {
		for _, member := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} {
			if value, there := key[member]; there {
				if s, ok := value.(string); ok {
					c.Redactor.Register("private_key", s)
				}
				c.Fails("a key of the set has the private member %s", member)
			}
		}
	}
	c.Passes("%d keys, all public", len(set.Keys))
}

// pushedEndpoint looks for the endpoint in the document, where anything else says that there is one.
func pushedEndpoint(c *expect.Case, s *expect.Suite, d *harness.Metadata, t *harness.Trial) {
	const member = "pushed_authorization_request_endpoint"
	address := d.String(member)
	aliases, _ := d.Members["mtls_endpoint_aliases"].(map[string]any)
	_, alias := aliases[member]
	switch {
	case address == "" && alias:
		c.Fails("mtls_endpoint_aliases has a %s, the metadata itself has none", member)
	case address == "" && d.True("require_pushed_authorization_requests"):
		c.Fails("require_pushed_authorization_requests is true, and the metadata has no %s", member)
	case address == "" && c.Metadata.Has(member):
		c.Fails("the target file names a %s, the metadata has none", member)
	case address == "" && t.Client.RequirePushedAuthorizationRequests:
		c.Fails("client %s has to push its requests, and the metadata has no %s", t.Client.Name, member)
	case address == "":
		c.NotApplicable("discovered: the metadata has no %s", member)
	case !strings.HasPrefix(address, "https://") && strings.HasPrefix(d.String("issuer"), "https://"):
		c.Fails("%s is %s, which is not https", member, address)
	}
	c.Expect(c.Push(harness.AuthorizationRequest{Who: s.Honest(t.Client, t.Binding)})).To(expect.BeAccepted())
	c.Passes("%s is announced, and takes requests", member)
}
