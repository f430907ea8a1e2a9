package harness

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// Message is an OAuth request before it is sent; a change of an attack edits it.
type Message struct {
	Method string
	URL    string
	Params Params // the form of a POST, the query of an authorization request
	Header []Field
	Who    Identity
	Media  string // of the body of a POST; "" for a form, else JSON

	Session *TLSSession // kept or resumed on purpose; nil for a session of its own
	Over    *Connection // shared with other requests on purpose; nil for the usual choice

	decoded []Decoded // of the assertions in it, for the record
	changed []string
}

// Change is the one defect of an attack in a request. Facts are what the attacker knows.
type Change func(*Message, Facts)

// Facts is what an attacker has at hand when a request is changed.
type Facts struct {
	Tester *Tester
	PKCE   PKCEPair       // of this transaction
	Other  *Authorization // another transaction of the same client, where the attack has one
	Client *Client        // another client, where the attack has one
	Cert   *Certificate
}

// PKCEPair is a verifier with its challenge (RFC 7636 §4.1, §4.2).
type PKCEPair struct{ Verifier, Challenge, Method string }

// NewPKCE makes an honest pair; a verifier of 32 random bytes has 43 characters.
func (t *Tester) NewPKCE() PKCEPair { return t.PKCEFor(Random(32)) }

// PKCEFor is the S256 pair of a verifier.
func (t *Tester) PKCEFor(verifier string) PKCEPair {
	if len(verifier) >= indexedBytes { // a letter is guessed anyhow, and is a word of many sentences
		t.Redactor.Register("code_verifier", verifier)
	}
	return PKCEPair{verifier, AccessTokenHash(verifier), "S256"} // the same transform: base64url of SHA-256
}

// Authorization is a code with all that its redemption needs.
type Authorization struct {
	Client      *Client // to whom it was issued
	Code        string
	PKCE        PKCEPair
	RedirectURI string
	User        *User
	Response    url.Values // all parameters of the authorization response
	Front       *FrontChannel
	State       string
	RequestURI  string // of the pushed request, "" without one
}

// Via is how an authorization request reaches the server.
type Via int

// The ways of an authorization request.
const (
	FrontChannelRequest Via = iota
	PushedRequest           // RFC 9126
	DirectRequest           // through the browser, also where requests have to be pushed
)

// AuthorizationRequest is what an authorization starts from; the zero changes are the honest request.
type AuthorizationRequest struct {
	Who         Identity
	User        *User // nil: the first
	Session     Session
	PKCE        PKCEPair // zero: a new honest pair
	Via         Via
	Other       *Authorization
	Change      Change          // of the authorization request, wherever its parameters travel
	Beside      Change          // of what is sent to the authorization endpoint next to a request_uri
	PushAuth    Change          // of the pushed request, after client authentication was added
	Assertion   AssertionChange // of the client assertion of the pushed request
	Pushed      string          // a request_uri that was issued before, instead of pushing
	PushProof   ProofPolicy     // whether the pushed request carries a proof
	ProofChange ProofChange
	AtConsent   func(*ConsentPage) // sees the consent form before it is sent; nil for nothing
}

// Session says in which browser the user is.
type Session int

// A user's session is kept, so that one login serves many authorizations; a check that watches the login opens a new one.
const (
	KeptSession Session = iota
	NewSession
	ReloadedSession // a new one, whose user loads the address twice before the login
)

// ProofPolicy says whether a pushed request carries a proof of the identity's key.
type ProofPolicy int

// A pushed request may carry a proof (RFC 9449 §10.1).
const (
	WithoutProof ProofPolicy = iota
	WithProof
)

// authorizationMessage spells the authorization request (RFC 6749 §4.1.1, RFC 7636 §4.3).
func (tr *Trace) authorizationMessage(q *AuthorizationRequest) *Message {
	c := q.Who.Client
	m := &Message{Method: "GET", URL: tr.Metadata.String("authorization_endpoint"), Who: q.Who}
	m.Params.Add("response_type", "code")
	m.Params.Add("client_id", c.ClientID)
	if len(c.RedirectURIs) > 0 {
		m.Params.Add("redirect_uri", c.RedirectURIs[0])
	}
	if c.Scope != "" {
		m.Params.Add("scope", c.Scope)
	}
	m.Params.Add("state", Random(12))
	if strings.Contains(" "+c.Scope+" ", " openid ") {
		m.Params.Add("nonce", Random(12))
	}
	m.Params.Add("code_challenge", q.PKCE.Challenge)
	m.Params.Add("code_challenge_method", q.PKCE.Method)
	for _, name := range sortedKeys(c.AuthorizationParameters) {
		m.Params.Set(name, c.AuthorizationParameters[name])
	}
	return m
}

// Authorize plays the authorization request, the login and the consent, up to the code.
func (tr *Trace) Authorize(q AuthorizationRequest) Outcome {
	const at = "the authorization endpoint"
	if q.PKCE == (PKCEPair{}) {
		q.PKCE = tr.NewPKCE()
	}
	c := q.Who.Client
	if q.Via == FrontChannelRequest && tr.MustPush(c) {
		q.Via = PushedRequest
	}
	if tr.Metadata.String("authorization_endpoint") == "" {
		return Outcome{At: at, Why: "no authorization endpoint is known: " + tr.whyNoMetadata()}
	}
	m := tr.authorizationMessage(&q)
	honest := slices.Clone(m.Params)
	facts := Facts{Tester: tr.Tester, PKCE: q.PKCE, Other: q.Other}
	if q.Change != nil {
		q.Change(m, facts)
	}
	changed := honest.differences(m.Params)
	redirectURI, state := m.Params.Get("redirect_uri"), m.Params.Get("state")
	requestURI := q.Pushed
	if q.Via == PushedRequest {
		if requestURI == "" {
			pushed := tr.push(&q, m, changed)
			if pushed.State != Granted {
				return pushed
			}
			requestURI = pushed.RequestURI
		}
		m = tr.byReference(m, requestURI)
		changed = nil
		if q.Beside != nil {
			before := slices.Clone(m.Params)
			q.Beside(m, facts)
			changed = before.differences(m.Params)
		}
	}
	user := q.User
	if user == nil {
		user = tr.firstUser()
	}
	front, err := tr.login(withQuery(m.URL, m.Params), q, user, changed)
	if err != nil {
		return Outcome{At: at, Why: err.Error()}
	}
	o := front.outcome(at)
	if o.State != Granted {
		return o
	}
	tr.Redactor.Register("code", front.Params.Get("code"))
	o.Code = &Authorization{Client: c, Code: front.Params.Get("code"), PKCE: q.PKCE, RedirectURI: redirectURI, User: user, Response: front.Params, Front: front, State: state, RequestURI: requestURI}
	return o
}

// byReference is the authorization request that stands for a pushed one: client_id and request_uri (RFC 9126 §4). OpenID Connect Core §6.2
// has response_type and scope come again beside request_uri, and RFC 9101 §5 lets clients repeat them, for servers that insist on it.
func (tr *Trace) byReference(pushed *Message, requestURI string) *Message {
	m := &Message{Method: "GET", URL: tr.Metadata.String("authorization_endpoint"), Who: pushed.Who,
		Params: Params{{"client_id", pushed.Who.Client.ClientID}, {"request_uri", requestURI}}}
	if tr.Learned == nil || !tr.Learned.repeats {
		return m
	}
	for _, name := range []string{"response_type", "scope"} {
		if pushed.Params.count(name) > 0 {
			m.Params.Add(name, pushed.Params.Get(name))
		}
	}
	return m
}

// MustPush reports whether a client has to push its authorization requests, by its registration or by the server's word (RFC 9126 §5, §6).
func (t *Tester) MustPush(c *Client) bool {
	return c.RequirePushedAuthorizationRequests || t.Metadata.True("require_pushed_authorization_requests")
}

func (tr *Trace) whyNoMetadata() string {
	if tr.Metadata == nil || tr.Metadata.Problem == "" {
		return "the metadata does not name it"
	}
	return tr.Metadata.Problem
}

func (tr *Trace) firstUser() *User {
	if len(tr.Target.Users) == 0 {
		return &User{}
	}
	return &tr.Target.Users[0]
}

// Push sends a pushed authorization request alone (RFC 9126 §2.1).
func (tr *Trace) Push(q AuthorizationRequest) Outcome {
	if q.PKCE == (PKCEPair{}) {
		q.PKCE = tr.NewPKCE()
	}
	m := tr.authorizationMessage(&q)
	honest := slices.Clone(m.Params)
	if q.Change != nil {
		q.Change(m, Facts{Tester: tr.Tester, PKCE: q.PKCE, Other: q.Other})
	}
	return tr.push(&q, m, honest.differences(m.Params))
}

func (tr *Trace) push(q *AuthorizationRequest, m *Message, changed []string) Outcome {
	const at = "the PAR endpoint"
	endpoint := tr.Metadata.Endpoint("pushed_authorization_request_endpoint", q.Who.Cert)
	if endpoint == "" {
		return Outcome{At: at, Why: "no PAR endpoint is known: " + tr.whyNoMetadata()}
	}
	var key *Key
	if q.PushProof == WithProof {
		key = q.Who.Key
	}
	params := m.Params
	answer, err := tr.proven(key, formMethod, endpoint, "", q.ProofChange, func(fields []Field) (*Request, error) {
		pushed := &Message{Method: formMethod, URL: endpoint, Params: slices.Clone(params), Who: m.Who}
		if err := tr.authenticate(pushed, q.Assertion, nil); err != nil {
			return nil, err
		}
		honest := slices.Clone(pushed.Params)
		if q.PushAuth != nil {
			q.PushAuth(pushed, Facts{Tester: tr.Tester, PKCE: q.PKCE})
		}
		r := formRequest("pushed authorization request", pushed, fields)
		r.Changed = append(r.Changed, slices.Concat(changed, honest.differences(pushed.Params))...)
		return r, nil
	})
	if err != nil {
		return Outcome{At: at, Why: "the request cannot be built: " + err.Error()}
	}
	var body struct {
		RequestURI string `json:"request_uri"`
	}
	if answer.OK() && answer.Status/100 == 2 && json.Unmarshal(answer.Body, &body) == nil && body.RequestURI != "" {
		tr.Redactor.Register("request_uri", body.RequestURI)
		return Outcome{State: Granted, At: at, Got: "a request_uri was issued", Status: answer.Status, Answer: answer, RequestURI: body.RequestURI}
	}
	return settle(answer, at)
}

// registerSent makes known what an attack put into secret places: a verifier with one character changed gives the right one away.
// The challenge itself is public (RFC 7636 §4.3), also where it is sent as a verifier.
func (tr *Trace) registerSent(m *Message, pair PKCEPair) {
	for _, p := range m.Params {
		switch p.Name {
		case "code_verifier", "code", "refresh_token", clientAssertion, grantAssertion, "password":
			if p.Value != pair.Challenge && len(p.Value) >= indexedBytes { // as PKCEFor
				tr.Redactor.Register(p.Name, p.Value)
			}
		}
	}
}

// formRequest is a POST of a form (RFC 6749 §3.2).
func formRequest(step string, m *Message, proof []Field) *Request {
	header := append([]Field{formType(), {"Accept", "application/json"}}, m.Header...)
	r := &Request{Step: step, Method: m.Method, URL: m.URL, Header: append(header, proof...), As: m.Who.Cert, Session: m.Session, Over: m.Over, Decoded: m.decoded, Changed: m.changed}
	switch {
	case m.Media != "":
		r.Header[0].Value, r.Body = m.Media, m.Params.json()
	case m.Method == formMethod:
		r.Body = m.Params.Encode()
	default:
		r.URL += "?" + m.Params.Encode()
	}
	return r
}

// Token is a token response (RFC 6749 §5.1).
type Token struct {
	AccessToken  string          `json:"access_token"`
	TokenType    string          `json:"token_type"`
	RefreshToken string          `json:"refresh_token"`
	IDToken      string          `json:"id_token"`
	Scope        string          `json:"scope"`
	ExpiresIn    json.RawMessage `json:"expires_in"` // as it was sent: a wrong type must not make the token unreadable
	Who          Identity        `json:"-"`
}

// Claims are those of a JWT access token; ok is false when it is opaque.
func (t *Token) Claims() (map[string]any, bool) { return claimsOf(t.AccessToken) }

// TokenRequest is one request to the token endpoint; the zero changes are the honest request.
type TokenRequest struct {
	Who     Identity
	Step    string
	Params  Params // of the grant, without client authentication
	PKCE    PKCEPair
	Other   *Authorization
	Against *Client     // another client that the change may name
	Change  Change      // after client authentication was added
	Proof   ProofChange // of the DPoP proof
	owner   *Client     // of what is exchanged; nil where nobody's is
	At      string      // another address than the identity's token endpoint

	ClientAssertion AssertionChange // of the JWT that authenticates the client
	Assertion       AssertionChange // of the JWT that is the grant
}

// Token sends a token request. Granted means that an access token came out; whether it opens anything is for Spend.
func (tr *Trace) Token(q TokenRequest) Outcome {
	const at = "the token endpoint"
	if why := tr.Distrusted(at); why != "" {
		return Outcome{At: at, Why: why}
	}
	endpoint := q.At
	if endpoint == "" {
		endpoint = tr.Metadata.Endpoint("token_endpoint", q.Who.Cert)
	}
	if endpoint == "" {
		return Outcome{At: at, Why: "no token endpoint is known: " + tr.whyNoMetadata()}
	}
	step := "token request"
	if q.Step != "" {
		step = q.Step
	}
	var sent *Message
	answer, err := tr.proven(q.Who.Key, formMethod, endpoint, "", q.Proof, func(fields []Field) (*Request, error) {
		m := &Message{Method: formMethod, URL: endpoint, Params: slices.Clone(q.Params), Who: q.Who}
		for _, name := range sortedKeys(q.Who.Client.TokenParameters) {
			m.Params.Set(name, q.Who.Client.TokenParameters[name])
		}
		if err := tr.authenticate(m, q.ClientAssertion, q.Against); err != nil {
			return nil, err
		}
		if m.Params.Get("grant_type") == JWTBearerGrant {
			if err := tr.assert(m, grantAssertion, tr.honestGrantAssertion, q.Assertion, q.Against); err != nil {
				return nil, err
			}
		}
		honest, header, cert := slices.Clone(m.Params), slices.Clone(m.Header), m.Who.Cert
		if q.Change != nil {
			q.Change(m, Facts{Tester: tr.Tester, PKCE: q.PKCE, Other: q.Other, Client: q.Against, Cert: cert})
		}
		sent = m
		tr.registerSent(m, q.PKCE)
		r := formRequest(step, m, fields)
		r.Changed = append(r.Changed, honest.differences(m.Params)...)
		if !slices.Equal(header, m.Header) {
			r.Changed = append(r.Changed, "client authentication")
		}
		if cert != m.Who.Cert {
			r.Changed = append(r.Changed, "client certificate")
		}
		if q.owner != nil && q.owner != q.Who.Client {
			r.Changed = append(r.Changed, "client, not that of the grant")
		}
		return r, nil
	})
	if err != nil {
		return Outcome{At: at, Why: "the request cannot be built: " + err.Error()}
	}
	o := settle(answer, at)
	if token := readToken(answer); token != nil {
		token.Who = q.Who
		if sent != nil {
			token.Who.Cert = sent.Who.Cert
		}
		o.State, o.Token, o.Got = Granted, token, "an access token was issued"
		tr.Redactor.Register("access_token", token.AccessToken)
		tr.Redactor.Register("refresh_token", token.RefreshToken)
		tr.Redactor.Register("id_token", token.IDToken)
		return o
	}
	if o.State == Refused && answer.OK() && answer.Status < 300 && o.Error == "" {
		o.State, o.Why = Unknown, fmt.Sprintf("%s answered HTTP %d without an access token and without an error", at, answer.Status)
	}
	return o
}

func readToken(a *Answer) *Token {
	if !a.OK() || a.Status < 200 || a.Status > 299 {
		return nil
	}
	var t Token
	if json.Unmarshal(a.Body, &t) != nil || t.AccessToken == "" {
		return nil
	}
	return &t
}

// Redeem exchanges a code (RFC 6749 §4.1.3, RFC 7636 §4.5).
func (tr *Trace) Redeem(a *Authorization, q TokenRequest) Outcome {
	q.Step = "code redemption"
	q.PKCE, q.owner = a.PKCE, a.Client
	q.Params = Params{{"grant_type", "authorization_code"}, {"code", a.Code}}
	if a.RedirectURI != "" {
		q.Params.Add("redirect_uri", a.RedirectURI)
	}
	q.Params.Add("code_verifier", a.PKCE.Verifier)
	return tr.Token(q)
}

// Refresh uses a refresh token (RFC 6749 §6).
func (tr *Trace) Refresh(t *Token, q TokenRequest) Outcome {
	q.Step, q.owner = "refresh request", t.Who.Client
	q.Params = Params{{"grant_type", "refresh_token"}, {"refresh_token", t.RefreshToken}}
	return tr.Token(q)
}

// ClientCredentials asks for a token in the client's own name (RFC 6749 §4.4).
func (tr *Trace) ClientCredentials(q TokenRequest) Outcome {
	q.Step = "client credentials request"
	q.Params = Params{{"grant_type", "client_credentials"}}
	if scope := machineScope(q.Who.Client.Scope); scope != "" {
		q.Params.Add("scope", scope)
	}
	return tr.Token(q)
}

// JWTBearer exchanges an assertion of an issuer that the server trusts (RFC 7523 §2.1). Client authentication is optional in this
// grant (RFC 7521 §4.1); a client that has a credential uses it.
func (tr *Trace) JWTBearer(q TokenRequest) Outcome {
	q.Step = "JWT bearer request"
	q.Params = Params{{"grant_type", JWTBearerGrant}, {grantAssertion, ""}} // made anew for each try
	if scope := machineScope(q.Who.Client.Scope); scope != "" {
		q.Params.Add("scope", scope)
	}
	return tr.Token(q)
}

// machineScope leaves out the scopes that speak of a user: no user takes part in the client credentials grant,
// and none logs in where an assertion is the grant.
func machineScope(scope string) string {
	return strings.Join(slices.DeleteFunc(strings.Fields(scope), func(s string) bool { return s == "openid" || s == "offline_access" }), " ")
}

// FrontChannel is what a browser saw between the authorization request and the redirect back to the client.
type FrontChannel struct {
	Redirect string     // the redirect back to the client; "" when a page ended it
	Params   url.Values // of the authorization response: query, fragment or form_post
	Page     *Answer    // the page that ended it
	Hops     []Hop
	Renewed  bool     // the user's session had been lost, and the login was renewed on the way
	filled   []string // forms for which nothing was sent but the redirect itself
	Unseen   string   // why nothing is known of the pages on the way; "" where they were seen
}

// Hop is one answer that the browser got, and what had been sent before it.
type Hop struct {
	After  string // "authorization request", "login form", "consent form", "redirect"
	Answer *Answer
	Script bool // a script of the page asked for it: it is no page
}

func (f *FrontChannel) outcome(at string) Outcome {
	if f.Redirect == "" {
		o := settle(f.Page, at)
		if o.State == Refused {
			o.Where = OnPage
			o.Error = ""
		}
		return o
	}
	last := f.Hops[len(f.Hops)-1].Answer
	if f.Params.Get("code") != "" {
		return Outcome{State: Granted, At: at, Got: "an authorization code was issued", Status: last.Status, Answer: last, Code: &Authorization{Front: f, Response: f.Params}}
	}
	o := Outcome{State: Refused, At: at, Status: last.Status, Where: InRedirect, Error: f.Params.Get("error"), Answer: last, Code: &Authorization{Front: f, Response: f.Params}}
	if f.Params.Get("access_token") != "" {
		o.State, o.Got = Granted, "an access token was issued in the redirect"
	}
	return o
}

// sessions are the browser sessions of the users: one authorization at a time in each, because a server may keep
// the pending request in the session.
type sessions struct {
	mu      sync.Mutex
	open    map[string]*browserSession
	logins  int // passwords sent
	failed  int // wrong logins of the run
	allowed int
	codes   map[string]int64 // by user: the step of the last one-time code
}

func newSessions(t *Target) *sessions {
	return &sessions{open: map[string]*browserSession{}, allowed: t.Limits.FailedLogins, codes: map[string]int64{}}
}

// close ends what drivers opened for them.
func (s *sessions) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.open {
		b.close()
	}
}

func (s *sessions) of(user *User) *browserSession {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[user.Username] == nil {
		s.open[user.Username] = newBrowserSession()
	}
	return s.open[user.Username]
}
