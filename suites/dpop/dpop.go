// Package dpop checks proofs at authorization server and resource server, nonces, key binding, refresh
// binding and downgrade (RFC 9449).
package dpop

import (
	"net/url"
	"slices"
	"strings"

	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/harness/expect"
)

// Specs declares the checks of the suite for a target.
func Specs(s *expect.Suite) {
	if s.Learned.Has("dpop") == harness.No {
		skipAll(s, "DPoP is not in use; "+s.Learned.Capabilities["dpop"].How)
		return
	}
	proofs(s)
	fapi(s)
	hostHeader(s)
	resources(s)
	s.Minted(harness.DPoPBound)
	replay(s)
	proofRaces(s)
	binding(s)
	refresh(s)
	rotation(s)
	codeBinding(s)
	nonces(s)
	wrongNonces(s)
	challenges(s)
	measurements(s)
	metadata(s)
	registration(s)
}

// skipAll says once for each check why nothing of the suite applies.
func skipAll(s *expect.Suite, why string) {
	for _, e := range attacks.Catalogue() {
		if e.Suite == harness.DPoP {
			s.Skip(e.Check, expect.Place{Endpoint: "token"}, why)
		}
	}
}

// nowhere is why a check of proofs has no place to run.
const nowhere = "no client and endpoint of the target can show it"

func grants() []string {
	return []string{harness.CodeGrant, harness.RefreshGrant, harness.ClientCredentialsGrant, harness.JWTBearerGrant}
}

// prover picks the client that sends proofs for a grant; where the server leaves the choice, one that may but need not use DPoP,
// because a bad proof of such a client could be downgraded to a bearer token (RFC 9449 §5).
func prover(s *expect.Suite, grant string) *harness.Trial {
	return s.Pick(func(t harness.Trial) bool {
		if grant == harness.RefreshGrant {
			return t.Grant == harness.CodeGrant && t.Binding == harness.DPoPBound && t.Refresh != harness.No
		}
		return t.Grant == grant && t.Binding == harness.DPoPBound
	})
}

func proves(t harness.Trial) bool { return t.Binding == harness.DPoPBound }

// site is one endpoint that takes proofs, with a way to call it honestly or with a change.
type site struct {
	place attacks.Place
	at    expect.Place
	url   string
	who   harness.Identity
	// prepare makes fresh material and returns the call; the material is honest, the call may carry a change.
	prepare func(c *expect.Case) func(harness.ProofChange) harness.Outcome
	// honest is the control, whose result is spent where there is something to spend.
	honest func(c *expect.Case) harness.Outcome
}

// proven is the control of a site.
func (w site) proven(c *expect.Case) func() harness.Outcome {
	return c.Proven(w.at.Key("dpop"), func() harness.Outcome { return w.honest(c) })
}

// bound reports whether the site takes one key only: the refresh token of a public client is bound to it (RFC 9449 §5).
func (w site) bound() bool { return w.at.Grant == harness.RefreshGrant && w.who.Client.Public() }

// sites are every endpoint of the target that must defend: the token endpoint by grant, PAR, and every resource.
func sites(s *expect.Suite) []site {
	var out []site
	for _, grant := range grants() {
		if trial := prover(s, grant); trial != nil {
			out = append(out, tokenSite(s, grant, trial))
		}
	}
	if trial := s.Pusher(proves); trial != nil && s.Learned.Has("par") != harness.No {
		out = append(out, parSite(s, trial))
	}
	return append(out, resourceSites(s)...)
}

func tokenSite(s *expect.Suite, grant string, t *harness.Trial) site {
	who := s.Honest(t.Client, harness.DPoPBound)
	return site{
		place: attacks.AtToken, who: who, url: s.Metadata.Endpoint("token_endpoint", who.Cert),
		at:     expect.Place{Endpoint: "token", Grant: grant, Client: t.Client.Name},
		honest: func(c *expect.Case) harness.Outcome { return c.Obtained(who, grant) },
		prepare: func(c *expect.Case) func(harness.ProofChange) harness.Outcome {
			send := c.Prepared(who, grant)
			return func(change harness.ProofChange) harness.Outcome {
				return c.Loot(send(harness.TokenRequest{Proof: change}), grant)
			}
		},
	}
}

func parSite(s *expect.Suite, t *harness.Trial) site {
	who := s.Honest(t.Client, harness.DPoPBound)
	push := func(c *expect.Case, change harness.ProofChange) harness.Outcome {
		return c.Push(harness.AuthorizationRequest{Who: who, PushProof: harness.WithProof, ProofChange: change})
	}
	return site{
		place: attacks.AtPAR, who: who, url: s.Metadata.Endpoint("pushed_authorization_request_endpoint", who.Cert),
		at: expect.Place{Endpoint: "par", Client: t.Client.Name},
		// A request_uri counts as honest only when it leads to a token that opens something: any server can hand out a string.
		honest: func(c *expect.Case) harness.Outcome {
			o := c.Authorize(harness.AuthorizationRequest{Who: who, Via: harness.PushedRequest, PushProof: harness.WithProof})
			if o.State != harness.Granted || o.Code == nil {
				return o
			}
			if o = c.Redeem(o.Code, harness.TokenRequest{Who: who}); o.State != harness.Granted {
				return o
			}
			return c.Spend(o.Token, harness.CodeGrant)
		},
		prepare: func(c *expect.Case) func(harness.ProofChange) harness.Outcome {
			return func(change harness.ProofChange) harness.Outcome { return push(c, change) }
		},
	}
}

// resourceSites are the resources that take DPoP-bound tokens, or claim to, each with a client that can show it.
func resourceSites(s *expect.Suite) []site {
	var out []site
	for _, r := range s.Resources() {
		if s.TakesBinding(r, harness.DPoPBound) == harness.No {
			continue
		}
		if trial := s.Opener(r, harness.DPoPBound); trial != nil {
			out = append(out, resourceSite(s, trial, r))
		}
	}
	return out
}

func resourceSite(s *expect.Suite, t *harness.Trial, r *harness.Resource) site {
	who, grant := s.Honest(t.Client, harness.DPoPBound), t.Grant
	return site{
		place: attacks.AtResource, who: who, url: r.URL,
		at: expect.Place{Endpoint: r.Name, Grant: grant, Client: t.Client.Name, Role: harness.ResourceServer},
		honest: func(c *expect.Case) harness.Outcome {
			return c.Call(harness.ResourceCall{Who: who, Token: c.Kept(who, grant), Resource: r})
		},
		prepare: func(c *expect.Case) func(harness.ProofChange) harness.Outcome {
			token := c.Kept(who, grant)
			return func(change harness.ProofChange) harness.Outcome {
				return c.Call(harness.ResourceCall{Who: who, Token: token, Resource: r, Proof: change})
			}
		},
	}
}

// proofs runs every row of defects in a proof at every site.
func proofs(s *expect.Suite) {
	all := sites(s)
	for _, a := range attacks.Proofs() {
		placed := false
		for _, where := range all {
			if !a.RunsAt(where.place) || a.Reach == attacks.OnePlace && !representative(all, where) || a.OtherKey && where.bound() {
				continue
			}
			placed = true
			if why := pointless(s, a, where); why != "" {
				s.Skip(a.Check, where.at, why)
				continue
			}
			s.It(a.Check, where.at, func(c *expect.Case) { proof(c, s, a, where) })
		}
		if !placed {
			s.Skip(a.Check, expect.Place{Endpoint: "token"}, nowhere)
		}
	}
}

// representative reports whether a site stands for its kind: where no user has to log in, else the first.
func representative(all []site, where site) bool {
	rank := func(w site) int {
		if w.at.Grant == harness.ClientCredentialsGrant {
			return 0
		}
		return 1
	}
	var best *site
	for i := range all {
		if all[i].place == where.place && (best == nil || rank(all[i]) < rank(*best)) {
			best = &all[i]
		}
	}
	return best != nil && best.at == where.at
}

// hostHeader runs the attack by the Host of the request at one token endpoint and every resource.
func hostHeader(s *expect.Suite) {
	a := attacks.HostHeader()
	var done []string
	for _, where := range sites(s) {
		if where.place == attacks.AtPAR || slices.Contains(done, where.at.Endpoint) {
			continue
		}
		done = append(done, where.at.Endpoint)
		s.It(a.Check, where.at, func(c *expect.Case) {
			answer := c.Between(where.proven(c), func() harness.Outcome { return where.prepare(c)(a.Change) }, "the honest proof")
			if another := otherSite(c, s, where, a, answer); another != "" {
				c.NotApplicable("observed: under another Host another site answers (%s)", another)
			}
			c.Refuses(answer, a.Refusal)
		})
	}
	if len(done) == 0 {
		s.Skip(a.Check, expect.Place{Endpoint: "token"}, nowhere)
	}
}

// otherSite says how it is seen that the answer came from another site of the same server: one that opens to everybody, or whose
// answer is none of a token endpoint; "" when it came from the target.
func otherSite(c *expect.Case, s *expect.Suite, where site, a attacks.ProofAttack, answer harness.Outcome) string {
	switch {
	case answer.State == harness.Unknown && answer.Answer != nil && answer.Answer.OK() && answer.Status < 400:
		return answer.Why
	case answer.State == harness.Granted && where.place == attacks.AtResource:
		var stranger harness.Outcome
		c.Attack(func() {
			stranger = c.Call(harness.ResourceCall{Who: where.who, Token: c.UnknownToken(), Resource: resourceOf(s, where), Proof: a.Change})
		})
		if stranger.State == harness.Granted {
			return "it opens for an unknown token"
		}
	}
	return ""
}

// pointless says why a row would change nothing at a site, or "".
func pointless(s *expect.Suite, a attacks.ProofAttack, where site) string {
	u, err := url.Parse(where.url)
	if err != nil {
		return ""
	}
	listed := s.Metadata.Strings("dpop_signing_alg_values_supported")
	ecdsa := strings.HasPrefix(where.who.Key.Alg, "ES")
	switch {
	case a.ID == "dpop-htu-default-port" && u.Port() != "":
		return "discovered: the address names a port, so that it has no default port to add"
	case a.ID == "dpop-htu-parent" && (u.Path == "" || strings.HasSuffix(u.Path, "/")), a.ID == "dpop-htu-path-case" && strings.ToUpper(u.Path) == strings.ToLower(u.Path):
		return "declared: the address has no path that could be told from another"
	case a.ID == "dpop-htu-percent" && !strings.ContainsAny(u.EscapedPath(), attacks.TwoSpellings), a.ID == "dpop-htu-percent-lower-case" && !strings.ContainsAny(u.EscapedPath(), attacks.TwoSpellings):
		return "declared: the path of the address has no letter that shows it"
	case a.ID == "dpop-htu-issuer" && s.Target.Issuer == "":
		return "declared: the target file names no issuer"
	case a.ID == "dpop-htu-issuer" && strings.TrimSuffix(s.Target.Issuer, "/") == strings.TrimSuffix(where.url, "/"):
		return "declared: the address is the issuer itself"
	case (a.ID == "dpop-signature-der" || a.ID == "dpop-jwk-off-curve") && !ecdsa:
		return "discovered: the server takes no ECDSA proofs"
	case (a.ID == "dpop-jwk-private-rsa" || a.ID == "dpop-rsa-exponent-one") && attacks.RSAAlgorithm(listed) == "":
		return "discovered: the metadata lists no RSA algorithm that can be tried"
	case (a.ID == "dpop-htu-http" || a.ID == "dpop-htu-forwarded-proto") && u.Scheme == "http":
		return "declared: the address is http itself"
	case a.ID == "dpop-alg-unlisted" && len(listed) == 0:
		return "discovered: the metadata has no dpop_signing_alg_values_supported"
	case a.ID == "dpop-alg-unlisted" && attacks.UnlistedAlgorithm(listed) == "":
		return "discovered: the metadata lists every algorithm that could be tried"
	}
	return ""
}

func proof(c *expect.Case, s *expect.Suite, a attacks.ProofAttack, where site) {
	honest := where.proven(c)
	c.Assume(honest()).To(expect.BeAccepted(), "the honest proof")
	send := where.prepare(c)
	var answer harness.Outcome
	c.Attack(func() { answer = send(a.Change) })
	c.Assume(honest()).To(expect.BeAccepted(), "the honest proof, again")
	judge(c, s, a, where, answer)
}

func judge(c *expect.Case, s *expect.Suite, a attacks.ProofAttack, where site, answer harness.Outcome) {
	form := formOf(a, where)
	switch {
	case a.Mode == attacks.Accept:
		c.Expect(answer).To(expect.BeAccepted())
		c.Passes("it was accepted: %s", answer)
		return
	case a.NonceDecides == attacks.Always && answer.State == harness.Granted:
		c.Measured("accepted")
		c.Passes("it was accepted, which is as legitimate as a refusal")
		return
	case a.NonceDecides == attacks.Anyhow:
		survives(c, answer, form)
		return
	case a.NonceDecides == attacks.WithNonce && answer.State == harness.Granted && s.DemandsNonce(where.url) == harness.Yes:
		c.Measured("not looked at next to a fresh nonce")
		c.Passes("it was accepted together with a fresh nonce of the server, by which alone this server judges freshness (RFC 9449 §4.3 item 11)")
		return
	}
	where.unlessUnread(c, answer)
	c.Refuses(answer, form)
}

// unlessUnread ends a check at PAR whose defect was not seen because proofs are not looked at there at all (RFC 9449 §10.1).
func (w site) unlessUnread(c *expect.Case, answer harness.Outcome) {
	if w.place != attacks.AtPAR || answer.State != harness.Granted || slices.Contains(attacks.Unread(), c.Check.ID) {
		return
	}
	for _, change := range attacks.NothingRight() {
		var o harness.Outcome
		c.Attack(func() { o = w.prepare(c)(change) })
		if o.State != harness.Granted {
			return
		}
	}
	c.NotApplicable("observed: PAR does not look at proofs; see %s", strings.Join(attacks.Unread(), ", "))
}

// survives judges what a server may accept or refuse, but not break on.
func survives(c *expect.Case, answer harness.Outcome, form harness.Refusal) {
	if answer.State == harness.Granted {
		c.Measured("accepted")
		c.Passes("it was accepted")
		return
	}
	// A server that does not read so long a header field may answer 431 or just end the connection, and which of the two arrives
	// is chance; that it lives on shows in the honest call after it.
	if a := answer.Answer; a != nil && a.Failure != nil && (a.Failure.Kind == harness.Dropped || a.Failure.Kind == harness.NotHTTP) {
		c.Measured("refused")
		c.Passes("the connection was ended, and the server went on serving")
		return
	}
	c.Expect(answer).To(expect.BeRefused())
	if answer.Status >= 500 {
		c.Fails("the server broke: %s", answer)
	}
	c.Measured("refused")
	c.Prefer(answer).To(expect.BeRefusedAs(form))
}

func formOf(a attacks.ProofAttack, where site) harness.Refusal {
	if where.place != attacks.AtResource {
		return a.Refusal
	}
	if len(a.Resource.Status) > 0 {
		return a.Resource
	}
	return attacks.DPoPChallenge("invalid_dpop_proof")
}
