package harness

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Known is what is known of a capability.
type Known string

// NotKnown counts as yes when checks are chosen: their controls then say what is wrong, and nothing is skipped in silence.
const (
	Yes      Known = "yes"
	No       Known = "no"
	NotKnown Known = "unknown"
)

// The grants (RFC 7591 §2).
const (
	CodeGrant              = "authorization_code"
	RefreshGrant           = "refresh_token"
	ClientCredentialsGrant = "client_credentials"
	JWTBearerGrant         = "urn:ietf:params:oauth:grant-type:jwt-bearer" // RFC 7523 §2.1
)

// ShortGrant is the name of a grant for people: an extension grant goes by the last word of its URN.
func ShortGrant(grant string) string {
	return strings.TrimPrefix(grant, "urn:ietf:params:oauth:grant-type:")
}

// Trial is one honest try of a client: a grant with a binding, and the token spent.
type Trial struct {
	Client  *Client
	Grant   string
	Binding Binding
	Works   Known
	How     string      // what was seen
	Refresh Known       // a refresh token came with it
	Opens   []*Resource // the resources that its token opened
	closed  map[*Resource]string

	// What a client of mutual TLS may do beside: whether introspection answers it about its own token (RFC 7662 §2.1), and which
	// of its tokens is dead once it has revoked it: "refresh_token", "access_token", or "" where none was seen to die (RFC 7009 §2.1).
	Introspects Known
	Revokes     string
	// TakesIssued is whether the server takes a certificate that client_ca issued under the client's own names. Where it does not, it
	// refuses every other one of that CA as well, whatever stands in it.
	TakesIssued Known
	// CannotPush says why a public client may not push its requests here, though others may; "" where it may, or where nothing is known.
	CannotPush string
	Outcome    Outcome
}

// Opened reports whether the trial's token opened a resource.
func (t Trial) Opened(r *Resource) bool {
	return slices.ContainsFunc(t.Opens, func(o *Resource) bool { return o.Name == r.Name })
}

// Learned is what the honest tries showed before any attack.
type Learned struct {
	Capabilities map[string]Capability
	Problems     []string // what a person has to mend, said once
	Trials       []Trial
	PKCEOptional *Client // a client that gets tokens without a challenge, or nil

	distrusted map[string]string // by place: why its answers prove nothing
	challenged map[string]bool   // addresses that asked for a nonce
	nonceless  map[string]bool   // addresses that took a proof without one, of servers that ask elsewhere
	namesDPoP  map[string]bool   // resources whose challenges name DPoP
	repeats    bool              // response_type and scope come to the authorization endpoint again, beside request_uri
}

// Trial finds a trial; nil when it was not made.
func (l *Learned) Trial(client, grant string, b Binding) *Trial {
	for i := range l.Trials {
		t := &l.Trials[i]
		if t.Client.called() == client && t.Grant == grant && t.Binding == b {
			return t
		}
	}
	return nil
}

// Has is what is known of a capability; one that was never looked at is unknown.
func (l *Learned) Has(capability string) Known {
	if c, ok := l.Capabilities[capability]; ok {
		return Known(c.Value)
	}
	return NotKnown
}

// challenge notes that an honest proof without nonce was answered by asking for one. Only the preflight writes here.
func (l *Learned) challenge(address string) {
	if l.challenged != nil {
		l.challenged[placeOf(address)] = true
	}
}

// challengedBy reports whether any address of a server asked for a nonce.
func (l *Learned) challengedBy(origin string) bool {
	for address := range l.challenged {
		if originOf(address) == origin {
			return true
		}
	}
	return false
}

// placeOf is an address without what a request adds to it.
func placeOf(address string) string { return originOf(address) + pathOf(address) }

func (l *Learned) set(name string, k Known, how string) {
	l.Capabilities[name] = Capability{Value: string(k), How: how}
}

// Learn makes every honest call once, without one attack: metadata, each client with each of its grants and bindings, the
// resources, and the liar's probes. What it learns decides which checks apply; what it could not learn is unknown.
func (t *Tester) Learn(ctx context.Context) *Trace {
	tr := t.Trace(ctx, "preflight")
	l := &Learned{Capabilities: map[string]Capability{}, distrusted: map[string]string{}, challenged: map[string]bool{}, nonceless: map[string]bool{}, namesDPoP: map[string]bool{}}
	t.Learned = l
	if t.Target.Alone() {
		t.Metadata = t.ownMetadata()
	} else {
		t.Metadata = tr.Discover()
	}
	if p := t.Metadata.Problem; p != "" {
		l.Problems = append(l.Problems, "the metadata of "+t.Target.Issuer+" could not be read: "+p+"; is the server running, is issuer right? Endpoints can also be named under metadata")
		l.set("as-metadata", NotKnown, p)
	} else {
		l.set("as-metadata", Yes, "discovered: "+t.Metadata.From)
		if t.Metadata.From == fromTargetFile {
			l.set("as-metadata", No, "observed: the server serves none; the target file names the endpoints")
		}
	}
	if got := t.Metadata.String("issuer"); got != "" && got != t.Target.Issuer {
		l.Problems = append(l.Problems, fmt.Sprintf("the metadata names the issuer %q, the target file %q; they must be identical (RFC 8414 §3.3)", got, t.Target.Issuer))
	}
	t.discoverRegistration()
	tr.registerClients()
	t.discoverCapabilities()
	t.tryUnknownTokens(tr)
	t.tryUnknownCode(tr)
	if t.Target.Alone() {
		t.learnAlone(tr)
	} else {
		for i := range t.Target.Clients {
			t.tryClient(tr, &t.Target.Clients[i])
		}
	}
	t.tryPushes(tr)
	t.tryWithoutNonce(tr)
	t.observeCapabilities()
	if t.Target.Alone() {
		t.noServer()
	}
	if !t.Slow {
		l.set("slow", No, "this run does not wait for minutes")
	} else {
		l.set("slow", Yes, "declared: --slow")
	}
	for name, value := range t.Target.Capabilities {
		k := No
		if value {
			k = Yes
		}
		l.set(name, k, "declared in the target file")
	}
	return tr
}

// discoverCapabilities reads what metadata and target file say. Metadata that could not be read says nothing.
func (t *Tester) discoverCapabilities() {
	l, m := t.Learned, t.Metadata
	member := func(capability, name string) {
		switch {
		case m.Has(name):
			l.set(capability, Yes, "discovered: "+name)
		case m.Problem != "":
			l.set(capability, NotKnown, "the metadata could not be read")
		default:
			l.set(capability, No, "discovered: the metadata has no "+name)
		}
	}
	member("par", "pushed_authorization_request_endpoint")
	member("introspection", "introspection_endpoint")
	member("revocation", "revocation_endpoint")
	member("mtls-aliases", "mtls_endpoint_aliases")
	member("iss", "authorization_response_iss_parameter_supported")
	if m.Has("authorization_response_iss_parameter_supported") && !m.True("authorization_response_iss_parameter_supported") {
		l.set("iss", No, "discovered: authorization_response_iss_parameter_supported is false")
	}
	if l.Has("introspection") == Yes && t.Target.IntrospectionClient == "" {
		l.set("introspection", No, "declared: the target file names no introspection_client")
	}
	declared := func(capability, what string, found bool) {
		if found {
			l.set(capability, Yes, "declared: "+what)
		} else {
			l.set(capability, No, "declared: the target file names no "+what)
		}
	}
	clients := t.Target.Clients
	any := func(f func(c Client) bool) bool { return slices.ContainsFunc(clients, f) }
	declared("code", "client with the authorization_code grant", any(func(c Client) bool { return c.HasGrant(CodeGrant) }))
	declared("client-credentials", "client with the client_credentials grant", any(func(c Client) bool { return c.HasGrant(ClientCredentialsGrant) }))
	if jwtBearer := "client with the jwt-bearer grant"; any(func(c Client) bool { return c.HasGrant(JWTBearerGrant) }) {
		declared("jwt-bearer", "assertion_issuer", t.Target.AssertionIssuer != nil)
	} else {
		declared("jwt-bearer", jwtBearer, false)
	}
	declared("private-key-jwt", "client with private_key_jwt", any(func(c Client) bool { return c.TokenEndpointAuthMethod == methodPrivateKey }))
	declared("par-required", "client that has to push its requests, and the metadata demands it of none", any(func(c Client) bool { return t.MustPush(&c) }))
	declared("public-client", "client with token_endpoint_auth_method none", any(func(c Client) bool { return c.TokenEndpointAuthMethod == "none" }))
	declared("confidential-client", "client with a credential", any(func(c Client) bool { return c.TokenEndpointAuthMethod != "none" }))
	declared("second-client", "second client", len(clients) > 1)
	declared("second-user", "second user", len(t.Target.Users) > 1)
	declared("trusted-ca", "client_ca", t.Target.ClientCA != nil)
	declared("second-trusted-ca", "second_client_ca", t.Target.SecondClientCA != nil)
	declared("cert-header", "certificate_header", t.Target.CertificateHeader != "")
	declared("mtls-pki", "client with tls_client_auth", any(func(c Client) bool { return c.TokenEndpointAuthMethod == "tls_client_auth" }))
	declared("mtls-self-signed", "client with self_signed_tls_client_auth", any(func(c Client) bool { return c.TokenEndpointAuthMethod == "self_signed_tls_client_auth" }))
	declared("second-rs", "two resources with a resource indicator of their own (resources: resource)", slices.ContainsFunc(t.Target.Resources, func(r Resource) bool {
		return r.Indicator != "" && slices.ContainsFunc(t.Target.Resources, func(o Resource) bool { return o.Indicator != "" && o.Indicator != r.Indicator })
	}))
	declared("token-issuer", "token_issuer", t.Target.TokenIssuer != nil)
	declared("rs", "resources", len(t.Target.Resources) > 0 || m.Has("userinfo_endpoint"))
}

// tryUnknownTokens is the liar's probe at the resources: one that opens for a token that nobody issued proves nothing.
func (t *Tester) tryUnknownTokens(tr *Trace) {
	for i := range t.Target.Clients {
		c := &t.Target.Clients[i]
		for _, r := range t.ResourcesFor(c, CodeGrant) {
			if _, done := t.Learned.distrusted[r.Name]; done {
				continue
			}
			t.Learned.distrusted[r.Name] = ""
			o := tr.Call(ResourceCall{Who: Identity{Client: c}, Token: t.UnknownToken(), Resource: r})
			t.Learned.challengedAt(r, o)
			if o.State == Granted {
				t.distrust(r.Name, fmt.Sprintf("resource %s opened (HTTP %d) for a token that nobody issued: its answers prove nothing, and it is not scored", r.Name, o.Status))
			}
		}
	}
}

// UnknownToken looks like a token, and nobody issued it.
func (t *Tester) UnknownToken() string {
	s := Random(32)
	t.Redactor.Register("unknown_token", s)
	return s
}

// tryUnknownCode is the liar's probe at the token endpoint.
func (t *Tester) tryUnknownCode(tr *Trace) {
	i := slices.IndexFunc(t.Target.Clients, func(c Client) bool { return c.HasGrant(CodeGrant) })
	if i < 0 {
		return
	}
	c := &t.Target.Clients[i]
	redirect := ""
	if len(c.RedirectURIs) > 0 {
		redirect = c.RedirectURIs[0]
	}
	unknown := &Authorization{Code: Random(24), PKCE: t.NewPKCE(), RedirectURI: redirect}
	if o := tr.Redeem(unknown, TokenRequest{Who: t.Honest(c, t.bindings(c)[0])}); o.State == Granted {
		t.distrust("the token endpoint", "the token endpoint handed out a token for a code that nobody issued: its answers prove nothing, and it is not scored")
	}
}

func (t *Tester) distrust(at, why string) {
	t.Learned.distrusted[at] = why
	t.Learned.Problems = append(t.Learned.Problems, why)
}

// Distrusted says why the answers of a place prove nothing, or "".
func (t *Tester) Distrusted(at string) string {
	if t.Learned == nil {
		return ""
	}
	return t.Learned.distrusted[at]
}

// bindings are those to try with a client, the one that it asks for first.
func (t *Tester) bindings(c *Client) []Binding {
	certificate := t.CertificateOf(c) != nil
	switch {
	case c.TLSClientCertificateBoundAccessTokens && certificate:
		return []Binding{CertificateBound}
	case c.DPoPBoundAccessTokens:
		return []Binding{DPoPBound}
	case c.MutualTLS():
		return []Binding{CertificateBound}
	case !t.Target.Alone() && t.offersDPoP():
		return []Binding{Unbound, DPoPBound}
	}
	return []Binding{Unbound}
}

// offersDPoP reports whether a proof is worth a try: a server that serves no metadata cannot announce it.
func (t *Tester) offersDPoP() bool {
	if declared, ok := t.Target.Capabilities["dpop"]; ok {
		return declared
	}
	return t.Metadata.Has("dpop_signing_alg_values_supported") || t.Metadata.Problem != "" || t.Metadata.From == fromTargetFile ||
		slices.ContainsFunc(t.Target.Clients, func(c Client) bool { return c.DPoPBoundAccessTokens })
}

func (t *Tester) tryClient(tr *Trace, c *Client) {
	for _, grant := range c.GrantTypes {
		if grant == RefreshGrant || grant == JWTBearerGrant && t.Target.AssertionIssuer == nil {
			continue
		}
		bindings, works := t.bindings(c), false
		first, said := "", ""
		for i, b := range bindings {
			trial := Trial{Client: c, Grant: grant, Binding: b, Works: NotKnown, Refresh: NotKnown}
			o := tr.obtainAtFirst(t.Honest(c, b), grant)
			trial.Outcome = o
			switch {
			case o.State == Granted && b == DPoPBound && !strings.EqualFold(o.Token.TokenType, "DPoP"):
				trial.Works, trial.How = No, "observed: a valid proof was answered with token_type "+o.Token.TokenType
				if c.DPoPBoundAccessTokens {
					trial.Works = Yes // it must be bound; the checks then say that it is not
				}
			case o.State == Granted:
				spent := tr.spendEverywhere(&trial, o.Token)
				if trial.How = spent.String(); spent.State == Granted {
					trial.Works, trial.How, works = Yes, "observed: "+spent.Got, true
				}
			default:
				trial.How = o.String()
			}
			if trial.Works == NotKnown && first == "" && !works && i == len(bindings)-1 || trial.Works == NotKnown && len(bindings) == 1 {
				first, said = trial.How, o.said()
			}
			if o.Token != nil {
				trial.Refresh = No
				if o.Token.RefreshToken != "" {
					trial.Refresh = Yes
				}
			}
			if trial.Works == Yes && c.MutualTLS() {
				tr.tryEndpoints(&trial)
			}
			t.Learned.Trials = append(t.Learned.Trials, trial)
		}
		if !works && first != "" {
			t.Learned.Problems = append(t.Learned.Problems, t.advice(c, grant, first, said))
		}
		// A client that demands proofs or works only with them is no broken bearer client.
		if works {
			for i := range t.Learned.Trials {
				trial := &t.Learned.Trials[i]
				if trial.Client == c && trial.Grant == grant && trial.Works == NotKnown && trial.Binding == Unbound && trial.Outcome.State != Unknown {
					trial.Works, trial.How = No, "observed: works with proofs only ("+trial.How+")"
				}
			}
		}
		if grant == CodeGrant && works && t.Learned.PKCEOptional == nil {
			t.tryWithoutPKCE(tr, c)
		}
	}
}

// obtainAtFirst is Obtain for a client of which nothing is known yet. RFC 7523 §3 leaves open which name of itself a server wants as
// the audience of a client assertion: it is the issuer by now, and was the address of the token endpoint.
func (tr *Trace) obtainAtFirst(who Identity, grant string) Outcome {
	obtain := func() Outcome { return tr.Obtain(who, grant) }
	o := obtain()
	if grant == CodeGrant && tr.MustPush(who.Client) {
		o = tr.repeated(o, obtain)
	}
	endpoint := tr.Metadata.String("token_endpoint")
	if o.State != Refused || o.At != "the token endpoint" || o.Status < 400 || o.Status > 401 || !who.Client.asserts() || tr.keys.audience(who.Client) != "" || endpoint == "" {
		return o
	}
	tr.addressAssertions(who.Client, endpoint)
	if again := obtain(); again.State == Granted {
		return again
	}
	tr.addressAssertions(who.Client, "")
	return o
}

// repeated makes a pushed request that the authorization endpoint refused once more, with response_type and scope beside its request_uri.
// Where that helps, all others have them too.
func (tr *Trace) repeated(o Outcome, try func() Outcome) Outcome {
	l := tr.Learned
	if o.State != Refused || o.At != "the authorization endpoint" || l.repeats {
		return o
	}
	l.repeats = true
	if again := try(); again.State == Granted {
		l.set("par", Yes, l.Capabilities["par"].How+"; observed: response_type and scope have to come again beside request_uri (OpenID Connect Core §6.2)")
		return again
	}
	l.repeats = false
	return o
}

// spendEverywhere notes which of the fitting resources a token opens; a token for one of them need not open the others.
func (tr *Trace) spendEverywhere(trial *Trial, token *Token) Outcome {
	fitting := tr.ResourcesFor(trial.Client, trial.Grant)
	if len(fitting) == 0 {
		return tr.Spend(token, trial.Grant)
	}
	var opened, refused Outcome
	for _, r := range fitting {
		o := tr.Call(ResourceCall{Who: token.Who, Token: token.AccessToken, Resource: r, Scheme: spendScheme(token)})
		if o.State == Granted {
			trial.Opens = append(trial.Opens, r)
			o.Got = "an access token was issued and opened " + r.Name
			opened = o
			continue
		}
		tr.Learned.challengedAt(r, o)
		if refused = o; trial.closed == nil {
			trial.closed = map[*Resource]string{}
		}
		trial.closed[r] = o.String() + o.said()
	}
	if len(trial.Opens) > 0 {
		return opened
	}
	return refused
}

// tryEndpoints finds out at which endpoints beside the token endpoint a client of mutual TLS is served.
func (tr *Trace) tryEndpoints(trial *Trial) {
	trial.Introspects = No
	tr.tryIssued(trial)
	who := tr.Honest(trial.Client, trial.Binding)
	if tr.Metadata.Has("introspection_endpoint") {
		members, o := tr.IntrospectAs(trial.Outcome.Token.AccessToken, who, nil)
		if active, _ := members["active"].(bool); active {
			trial.Introspects = Yes
		} else if o.State == Unknown {
			trial.Introspects = NotKnown
		}
	}
	if !tr.Metadata.Has("revocation_endpoint") {
		return
	}
	for _, kind := range []string{"access_token", "refresh_token"} {
		o := tr.Obtain(who, trial.Grant)
		if o.State != Granted || kind == "refresh_token" && o.Token.RefreshToken == "" {
			continue
		}
		if tr.Revoke(o.Token.Value(kind), who).State == Granted && tr.Lives(o.Token, kind, trial.Grant).State == Refused {
			trial.Revokes = kind
			return
		}
	}
}

// tryPushes shows which public clients may push their requests. RFC 9126 §2 has clients authenticate there as at the token endpoint; a
// server may take pushed requests of confidential clients only. Where nobody may, the controls say what is wrong. The first request that is
// taken is used as well, to see what the authorization endpoint wants beside it.
func (t *Tester) tryPushes(tr *Trace) {
	if !t.Metadata.Has("pushed_authorization_request_endpoint") {
		return
	}
	refused, served := map[*Client]string{}, false
	tried := map[*Client]bool{}
	for _, trial := range t.Learned.Trials {
		if trial.Grant != CodeGrant || trial.Works != Yes || tried[trial.Client] || served && trial.Client.Confidential() {
			continue
		}
		tried[trial.Client] = true
		who := t.Honest(trial.Client, trial.Binding)
		o := tr.Push(AuthorizationRequest{Who: who})
		switch {
		case o.State == Granted && !served:
			served = true
			authorize := func() Outcome { return tr.Authorize(AuthorizationRequest{Who: who, Via: PushedRequest}) }
			tr.repeated(authorize(), authorize)
		case o.State == Refused && trial.Client.Public():
			refused[trial.Client] = "observed: client " + trial.Client.Name + " cannot push requests (" + o.String() + "), and others can"
		}
	}
	for i := range t.Learned.Trials {
		if served {
			t.Learned.Trials[i].CannotPush = refused[t.Learned.Trials[i].Client]
		}
	}
}

// tryIssued is the control of all attacks with certificates of client_ca.
func (tr *Trace) tryIssued(trial *Trial) {
	trial.TakesIssued = NotKnown
	who := tr.Honest(trial.Client, trial.Binding)
	if tr.ClientCA() == nil || who.Cert == nil || trial.Client.TokenEndpointAuthMethod != "tls_client_auth" {
		return
	}
	cert, err := tr.ClientCA().Issue(Issue{Name: "a renewed certificate", Like: who.Cert.Leaf})
	if err != nil {
		return
	}
	who.Cert = cert
	switch o := tr.Obtain(who, trial.Grant); o.State {
	case Granted:
		trial.TakesIssued = Yes
	case Refused:
		trial.TakesIssued = No
	}
}

// Value is the access token or the refresh token of a response.
func (t *Token) Value(kind string) string {
	if kind == "refresh_token" {
		return t.RefreshToken
	}
	return t.AccessToken
}

// Lives shows whether a token of a kind is still worth something to the client that holds it: Refused means that it is dead.
// A refresh token is used up by that.
func (tr *Trace) Lives(t *Token, kind, grant string) Outcome {
	if kind == "refresh_token" {
		return tr.Refresh(t, TokenRequest{Who: t.Who})
	}
	return tr.Spend(t, grant)
}

// challengedAt notes that a resource names DPoP in its challenges: it claims to take proofs.
func (l *Learned) challengedAt(r *Resource, o Outcome) {
	if o.Challenges("DPoP") {
		l.namesDPoP[r.Name] = true
	}
}

// tryWithoutNonce shows which addresses of a server that asks for nonces do so themselves, as to a client that has none yet: it may
// ask at its token endpoint and not at UserInfo (RFC 9449 §8, §9).
func (t *Tester) tryWithoutNonce(tr *Trace) {
	bare := func(p *Proof) { p.Claims.Drop("nonce"); p.Altered("nonce, left out") }
	for _, trial := range t.Learned.Trials {
		if trial.Binding != DPoPBound || trial.Works != Yes || trial.Outcome.Token == nil {
			continue
		}
		who := trial.Outcome.Token.Who
		for _, r := range trial.Opens {
			t.learnNonce(r.URL, func() Outcome {
				return tr.Call(ResourceCall{Who: who, Token: trial.Outcome.Token.AccessToken, Resource: r, Proof: bare})
			})
		}
		if trial.Grant == CodeGrant {
			t.learnNonce(t.Metadata.Endpoint("pushed_authorization_request_endpoint", who.Cert), func() Outcome {
				return tr.Push(AuthorizationRequest{Who: who, PushProof: WithProof, ProofChange: bare})
			})
		}
	}
}

// learnNonce makes a try at an address of which it is not known yet, where its server asks for nonces somewhere, or hands them out.
func (t *Tester) learnNonce(address string, try func() Outcome) {
	l, place := t.Learned, placeOf(address)
	if address == "" || l.challenged[place] || l.nonceless[place] || t.nonces.get(originOf(address)) == "" {
		return
	}
	switch o := try(); {
	case o.State == Granted:
		l.nonceless[place] = true
	case o.Answer != nil && nonceChallenge(o.Answer):
		l.challenged[place] = true
	}
}

// DemandsNonce is what is known of nonces at an address; of one that was not tried, what is known of its server.
func (t *Tester) DemandsNonce(address string) Known {
	switch {
	case t.Learned.nonceless[placeOf(address)]:
		return No
	case t.Learned.challengedBy(originOf(address)):
		return Yes
	case t.Learned.Has("dpop") == Yes:
		return No
	}
	return NotKnown
}

// TakesBinding is what is known of a resource and a kind of bound token: yes when one opened it; no when other tokens open it and
// it nowhere says that it takes this kind; else unknown.
func (t *Tester) TakesBinding(r *Resource, b Binding) Known {
	capability := map[Binding]string{DPoPBound: "dpop-rs", CertificateBound: "mtls-rs"}[b]
	if declared, ok := t.Target.Capabilities[capability]; ok && !declared {
		return No
	}
	others := false
	for _, trial := range t.Learned.Trials {
		if trial.Opened(r) {
			if trial.Binding == b {
				return Yes
			}
			others = true
		}
	}
	if others && b == DPoPBound && !t.Learned.namesDPoP[r.Name] {
		return No
	}
	return NotKnown
}

func (t *Tester) tryWithoutPKCE(tr *Trace, c *Client) {
	who := t.Honest(c, t.bindings(c)[0])
	o := tr.Authorize(AuthorizationRequest{Who: who, Change: func(m *Message, _ Facts) {
		m.Params.Drop("code_challenge")
		m.Params.Drop("code_challenge_method")
	}})
	if o.State != Granted || o.Code == nil {
		return
	}
	if tr.Redeem(o.Code, TokenRequest{Who: who, Change: func(m *Message, _ Facts) { m.Params.Drop("code_verifier") }}).State == Granted {
		t.Learned.PKCEOptional = c
	}
}

// advice names what to mend, and where in the target file; said is what the server says about it.
func (t *Tester) advice(c *Client, grant, what, said string) string {
	s := fmt.Sprintf("%s:%d: client %s got no usable token by %s: %s%s", t.Target.Path, c.Line, c.called(), grant, what, said)
	switch {
	case strings.Contains(what, "invalid_client"), strings.Contains(what, "HTTP 401") && strings.Contains(what, "the token endpoint"):
		s += map[string]string{
			"client_secret_basic": "; check client_secret", "client_secret_post": "; check client_secret",
			"private_key_jwt": "; check private_key", "tls_client_auth": "; check certificate", "self_signed_tls_client_auth": "; check certificate",
		}[c.TokenEndpointAuthMethod]
	case strings.Contains(what, "the authorization endpoint") && strings.Contains(what, "HTTP 4"):
		s += "; check redirect_uris, scope, and the password of the user"
	case strings.Contains(what, "invalid_scope"):
		s += "; check scope"
	case strings.Contains(what, "unauthorized_client"):
		s += "; check grant_types"
	case strings.Contains(what, "active=false"):
		// Keycloak 26.7, for one: only those are told that the token is meant for (RFC 7662 §2.2).
		s += "; name in introspection_client one that may ask about these tokens (it may have to be in their audience), or leave it out"
	case grant == JWTBearerGrant:
		s += "; check assertion_issuer"
	case c.TokenParameters["resource"] == "" && slices.ContainsFunc(t.Target.Resources, func(r Resource) bool {
		return r.Indicator != "" && strings.HasSuffix(what, " at "+r.Name)
	}):
		s += "; it was asked for without a resource (RFC 8707): where the server wants one, add authorization_parameters: {resource: …} and token_parameters: {resource: …} to this client"
	}
	return s
}

// Obtain gets a token honestly by a grant.
func (tr *Trace) Obtain(who Identity, grant string) Outcome {
	switch grant {
	case ClientCredentialsGrant:
		return tr.ClientCredentials(TokenRequest{Who: who})
	case JWTBearerGrant:
		return tr.JWTBearer(TokenRequest{Who: who})
	case SelfIssuedGrant:
		return tr.Mint(who, nil, nil)
	case BroughtGrant:
		return tr.brought(who)
	case RefreshGrant:
		o := tr.Obtain(who, CodeGrant)
		if o.State != Granted {
			return o
		}
		if o.Token.RefreshToken == "" {
			return Outcome{At: o.At, Why: "no refresh token came with the access token"}
		}
		return tr.Refresh(o.Token, TokenRequest{Who: who})
	}
	o := tr.Authorize(AuthorizationRequest{Who: who})
	if o.State != Granted {
		return o
	}
	return tr.Redeem(o.Code, TokenRequest{Who: who})
}

// ObtainFor gets a token for a resource, by its name where it has one (RFC 8707 §2), and with a scope; "" is the client's own.
func (tr *Trace) ObtainFor(who Identity, grant string, r *Resource, scope string) Outcome {
	named := func(m *Message, _ Facts) {
		if r.Indicator != "" {
			m.Params.Set("resource", r.Indicator)
		}
	}
	asked := func(m *Message, f Facts) {
		named(m, f)
		if scope != "" {
			m.Params.Set("scope", scope)
		}
	}
	if r.Indicator == "" && scope == "" {
		return tr.Obtain(who, grant)
	}
	switch grant {
	case ClientCredentialsGrant:
		return tr.ClientCredentials(TokenRequest{Who: who, Change: asked})
	case SelfIssuedGrant:
		return tr.mint(who, r, scope, nil)
	case BroughtGrant:
		return tr.brought(who)
	}
	o := tr.Authorize(AuthorizationRequest{Who: who, Change: asked})
	if o.State != Granted {
		return o
	}
	return tr.Redeem(o.Code, TokenRequest{Who: who, Change: named})
}

// observeCapabilities sums the trials up.
func (t *Tester) observeCapabilities() {
	l := t.Learned
	sum := func(capability string, in func(Trial) (Known, bool)) {
		value, how := No, "observed: no client could show it"
		for _, trial := range l.Trials {
			k, counts := in(trial)
			switch {
			case !counts:
			case k == Yes:
				l.set(capability, Yes, "observed: client "+trial.Client.called()+" by "+trial.Grant)
				return
			case k == NotKnown:
				value, how = NotKnown, trial.Client.called()+" by "+trial.Grant+": "+trial.How
			case value == No && trial.How != "":
				how = trial.How
			}
		}
		l.set(capability, value, how)
	}
	sum("dpop", func(x Trial) (Known, bool) { return x.Works, x.Binding == DPoPBound })
	sum("mtls-bound", func(x Trial) (Known, bool) { return x.Works, x.Binding == CertificateBound })
	sum("bearer", func(x Trial) (Known, bool) { return x.Works, x.Binding == Unbound })
	sum("refresh", func(x Trial) (Known, bool) { return x.Refresh, x.Grant == CodeGrant })
	sum("jwt-at", func(x Trial) (Known, bool) {
		if x.Outcome.Token == nil {
			return NotKnown, true
		}
		if _, ok := x.Outcome.Token.Claims(); ok {
			return Yes, true
		}
		return No, true
	})
	if l.Capabilities["jwt-at"].Value == string(No) {
		l.set("jwt-at", No, "observed: access tokens are opaque")
	}
	switch {
	case t.offersDPoP():
	case t.Target.Alone():
		l.set("dpop", No, "declared: no token of the target file is bound to a key")
	default:
		l.set("dpop", No, "discovered: the metadata has no dpop_signing_alg_values_supported, and no client asks for bound tokens")
	}
	if l.PKCEOptional != nil {
		l.set("pkce-optional", Yes, "observed: client "+l.PKCEOptional.called()+" gets tokens without a challenge")
	} else if l.Has("code") == Yes && slices.ContainsFunc(l.Trials, func(x Trial) bool { return x.Grant == CodeGrant && x.Works == Yes }) {
		l.set("pkce-optional", No, "observed: no client gets a token without a challenge")
	}
	nonce := func(capability string, origins []string) {
		switch {
		case l.Has("dpop") == No:
			l.set(capability, No, "DPoP is not in use")
		case slices.ContainsFunc(origins, l.challengedBy):
			l.set(capability, Yes, "observed: a proof without nonce was answered with use_dpop_nonce")
		case l.Has("dpop") == Yes:
			l.set(capability, No, "observed: a proof without nonce was accepted")
		}
	}
	nonce("nonce-as", []string{originOf(t.Metadata.String("token_endpoint")), originOf(t.Metadata.Endpoint("token_endpoint", &Certificate{}))})
	var resources []string
	for i := range t.Target.Clients {
		for _, r := range t.ResourcesFor(&t.Target.Clients[i], CodeGrant) {
			resources = append(resources, originOf(r.URL))
		}
	}
	nonce("nonce-rs", resources)
}
