package harness

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// statementLifetime is that of a software statement which popcheck signs: it is used at once.
const statementLifetime = 5 * time.Minute

// Registered is a client that popcheck has registered, and what the server said of it (RFC 7591 §3.2.1).
type Registered struct {
	Client  *Client        // as it may be used
	Members map[string]any // of the answer
	Token   string         // registration_access_token; "" where the server does without (RFC 7592 §3)
	URI     string         // registration_client_uri
	cert    *Certificate
}

// Managed reports whether the server lets clients be looked at, changed and removed (RFC 7592).
func (r *Registered) Managed() bool { return r.Token != "" && r.URI != "" }

// MembersChange is the one defect of an attack in the metadata of a client.
type MembersChange func(members *Object)

// RegistrationRequest is one request to the registration endpoint; the zero changes are the honest request.
type RegistrationRequest struct {
	Like      *Client         // what is registered
	Change    MembersChange   // of what is registered; a statement that popcheck signs says so too
	Beside    MembersChange   // of the request alone, beside the statement
	Statement AssertionChange // of the software statement, where one is sent
	Token     *string         // instead of the initial access token; "" for none
}

// Register registers a client (RFC 7591 §3.1). Granted means that there is one now: it is removed when the run ends. The request is not
// cut off when the run is interrupted: the server could have registered a client that nobody knows of.
func (tr *Trace) Register(q RegistrationRequest) Outcome {
	const at = "the registration endpoint"
	cert := tr.keys.registrar
	endpoint := tr.Metadata.Endpoint("registration_endpoint", cert)
	if endpoint == "" {
		return Outcome{At: at, Why: "no registration endpoint is known: " + tr.whyNoMetadata()}
	}
	honest, err := tr.clientMetadata(q.Like)
	if err != nil {
		return Outcome{At: at, Why: "the request cannot be built: " + err.Error()}
	}
	r := &Request{Step: "client registration", Method: http.MethodPost, URL: endpoint, As: cert, Header: []Field{{"Content-Type", "application/json"}, {"Accept", "application/json"}}}
	sent := honest.clone()
	if q.Change != nil {
		q.Change(&sent)
		r.Changed = honest.differences(sent)
	}
	if err := tr.state(&sent, sent.clone(), q, r); err != nil {
		return Outcome{At: at, Why: "the request cannot be built: " + err.Error()}
	}
	if q.Beside != nil {
		before := sent.clone()
		q.Beside(&sent)
		r.Changed = append(r.Changed, before.differences(sent)...)
	}
	if token := tr.initialToken(q, r); token != "" {
		r.Header = append(r.Header, Field{"Authorization", "Bearer " + token})
	}
	if r.Body, err = spelt(sent); err != nil {
		return Outcome{At: at, Why: "the request cannot be built: " + err.Error()}
	}
	answer := tr.uncut(*r)
	o := settle(answer, at)
	if f := answer.Failure; f != nil && (f.Kind == TimedOut || f.Kind == TooLarge || f.Kind == NotHTTP) {
		tr.ledger.lose(q.Like.called())
	}
	registered := readRegistered(answer, q.Like)
	if registered == nil {
		if o.State == Refused && answer.OK() && answer.Status < 300 {
			o.State, o.Why = Unknown, fmt.Sprintf("%s answered HTTP %d without a client_id", at, answer.Status)
		}
		return o
	}
	registered.cert = cert
	tr.Redactor.Register("registration_access_token", registered.Token)
	tr.Redactor.Register("client_secret", registered.Client.ClientSecret)
	tr.ledger.add(registered)
	o.State, o.Got, o.Registered = Granted, "a client was registered", registered
	return o
}

// state adds the software statement, where the target file names one.
func (tr *Trace) state(sent *Object, honest Object, q RegistrationRequest, r *Request) error {
	if tr.Target.Registration == nil || tr.Target.Registration.Statement == nil {
		return nil
	}
	m := &Message{}
	if err := tr.assert(m, softwareStatement, func() (signedJWT, error) { return tr.honestStatement(honest) }, q.Statement, nil); err != nil {
		return err
	}
	sent.Set(softwareStatement, m.Params.Get(softwareStatement))
	r.Decoded, r.Changed = m.decoded, append(r.Changed, m.changed...)
	return nil
}

const softwareStatement = "software_statement"

// honestStatement says of the software what it is registered with (RFC 7591 §2.3), or is the one that was given.
func (t *Tester) honestStatement(members Object) (signedJWT, error) {
	s := t.Target.Registration.Statement
	if s.Given != "" {
		return givenStatement(s.Given)
	}
	key, now := t.keys.statements, time.Now()
	alg := t.assertionAlg(key)
	j := signedJWT{Key: key, Header: Object{{"alg", alg}, {"typ", "JWT"}}, Claims: Object{{"iss", s.Issuer}, {"iat", now.Unix()}, {"exp", now.Add(statementLifetime).Unix()}, {"jti", Random(16)}, {"software_id", "popcheck"}}}
	if id := valueOr(s.KeyID, key.KeyID); id != "" {
		j.Header.Set("kid", id)
	}
	j.Sign = func(input string) ([]byte, error) { return signJWS(alg, key.private, input) }
	for _, m := range members {
		j.Claims.Set(m.Name, m.Value)
	}
	for _, name := range sortedKeys(s.Claims) {
		j.Claims.Set(name, s.Claims[name])
	}
	return j, nil
}

// givenStatement is a captured statement, which a change may alter; without its issuer's key, the signature stays what it was.
func givenStatement(compact string) (signedJWT, error) {
	parts := strings.Split(compact, ".")
	if len(parts) != 3 {
		return signedJWT{}, fmt.Errorf("the software statement is no JWT")
	}
	var objects [2]Object
	for i := range objects {
		data, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil {
			return signedJWT{}, err
		}
		if objects[i], err = parseObject(data); err != nil {
			return signedJWT{}, err
		}
	}
	j := signedJWT{Header: objects[0], Claims: objects[1]}
	honest := j.clone()
	j.Sign = func(input string) ([]byte, error) { return base64.RawURLEncoding.DecodeString(parts[2]) }
	j.Spell = func(input, signature string) string {
		if same, err := (&signedJWT{Header: honest.Header, Claims: honest.Claims, Sign: j.Sign}).compact(); err == nil && same == input+"."+signature {
			return compact // its issuer may have spelt it in another way
		}
		return input + "." + signature
	}
	return j, nil
}

// HoldsStatementKey reports whether popcheck signs software statements itself.
func (t *Tester) HoldsStatementKey() bool { return t.keys.statements != nil }

// initialToken is the token that the registration endpoint asks for (RFC 7591 §3).
func (tr *Trace) initialToken(q RegistrationRequest, r *Request) string {
	if q.Token != nil {
		tr.Redactor.Register("initial_access_token", *q.Token)
		r.Changed = append(r.Changed, "initial access token")
		return *q.Token
	}
	if tr.Target.Registration == nil {
		return ""
	}
	return tr.Target.Registration.InitialAccessToken
}

func spelt(members Object) (string, error) {
	text, err := json.Marshal(members)
	return string(text), err
}

// uncut sends a request whose answer is waited for also when the run is interrupted in between.
func (tr *Trace) uncut(r Request) *Answer {
	ctx := tr.ctx
	tr.ctx = context.WithoutCancel(ctx)
	defer func() { tr.ctx = ctx }()
	if err := ctx.Err(); err != nil {
		return &Answer{Failure: &Failure{Stopped, "interrupted"}}
	}
	return tr.Do(r)
}

// clientMetadata is what a client is registered with (RFC 7591 §2): what the target file says of it.
func (t *Tester) clientMetadata(c *Client) (Object, error) {
	m := Object{{"client_name", "popcheck " + c.called() + " (run " + t.RunID + ")"}, {"token_endpoint_auth_method", c.TokenEndpointAuthMethod}, {"grant_types", c.GrantTypes}}
	responses := []string{}
	if c.HasGrant(CodeGrant) {
		responses = append(responses, "code")
	}
	m.Set("response_types", responses)
	if len(c.RedirectURIs) > 0 {
		m.Set("redirect_uris", c.RedirectURIs)
	}
	for _, text := range []ObjectMember{{"scope", c.Scope}, {"tls_client_auth_subject_dn", c.TLSClientAuthSubjectDN}, {"tls_client_auth_san_dns", c.TLSClientAuthSANDNS},
		{"tls_client_auth_san_uri", c.TLSClientAuthSANURI}, {"tls_client_auth_san_ip", c.TLSClientAuthSANIP}, {"tls_client_auth_san_email", c.TLSClientAuthSANEmail}} {
		if text.Value != "" {
			m.Set(text.Name, text.Value)
		}
	}
	for _, flag := range []ObjectMember{{dpopBound, c.DPoPBoundAccessTokens}, {certificateBound, c.TLSClientCertificateBoundAccessTokens},
		{"require_pushed_authorization_requests", c.RequirePushedAuthorizationRequests}} {
		if flag.Value == true {
			m.Set(flag.Name, true)
		}
	}
	switch c.TokenEndpointAuthMethod {
	case methodPrivateKey:
		key, err := t.assertionKey(c)
		if err != nil {
			return nil, err
		}
		m.Set("jwks", Object{{"keys", []Object{key.registeredJWK()}}})
	case methodSelfSigned:
		cert := t.CertificateOf(c)
		if cert == nil {
			return nil, fmt.Errorf("client %s has no certificate", c.called())
		}
		jwk, err := cert.registeredJWK()
		if err != nil {
			return nil, err
		}
		m.Set("jwks", Object{{"keys", []Object{jwk}}})
	}
	for _, name := range sortedKeys(c.Metadata) {
		if value := c.Metadata[name]; value != nil {
			m.Set(name, value)
		} else {
			m.Drop(name)
		}
	}
	return m, nil
}

// The members of RFC 9449 §5.2 and RFC 8705 §3.4.
const (
	dpopBound        = "dpop_bound_access_tokens"
	certificateBound = "tls_client_certificate_bound_access_tokens"
)

// assertionKey is the key of a client's assertions; one that is registered without gets one.
func (t *Tester) assertionKey(c *Client) (*Key, error) {
	r := t.keys
	r.mu.Lock()
	defer r.mu.Unlock()
	if key := r.assertions[c.called()]; key != nil {
		key.KeyID = valueOr(key.KeyID, key.Thumbprint())
		return key, nil
	}
	key, err := NewKey("key of "+c.called(), "ES256", 0)
	if err != nil {
		return nil, err
	}
	key.KeyID = key.Thumbprint()
	r.assertions[c.called()] = r.known(key)
	return key, nil
}

// registeredJWK is the public key as it stands in a client's jwks (RFC 7517 §4).
func (k *Key) registeredJWK() Object {
	jwk := k.PublicJWK()
	jwk.Set("use", "sig")
	jwk.Set("alg", k.Alg)
	jwk.Set("kid", valueOr(k.KeyID, k.Thumbprint()))
	return jwk
}

// registeredJWK is the key of a certificate, with the certificate (RFC 8705 §2.2.2), and its thumbprint for servers that look for that
// (RFC 7517 §4.9).
func (c *Certificate) registeredJWK() (Object, error) {
	key, err := keyFrom(c.Name, "", c.pair.PrivateKey)
	if err != nil {
		return nil, err
	}
	jwk := key.PublicJWK()
	jwk.Set("use", "sig")
	jwk.Set("kid", key.Thumbprint())
	jwk.Set("x5c", []string{base64.StdEncoding.EncodeToString(c.Leaf.Raw)})
	jwk.Set("x5t#S256", c.Thumbprint())
	return jwk, nil
}

// readRegistered reads a client information response (RFC 7591 §3.2.1); nil where there is none. The server may have replaced what was
// asked for: what it says is what counts. scope is not read: some servers list there what may be asked for beside that.
func readRegistered(a *Answer, like *Client) *Registered {
	if !a.OK() || a.Status < 200 || a.Status > 299 {
		return nil
	}
	r := &Registered{}
	if json.Unmarshal(a.Body, &r.Members) != nil {
		return nil
	}
	text := func(name string) string { s, _ := r.Members[name].(string); return s }
	if text("client_id") == "" {
		return nil
	}
	c := *like
	c.ClientID, c.ClientSecret = text("client_id"), text("client_secret")
	c.TokenEndpointAuthMethod = valueOr(text("token_endpoint_auth_method"), c.TokenEndpointAuthMethod)
	if uris := r.Strings("redirect_uris"); len(uris) > 0 {
		c.RedirectURIs = uris
	}
	c.DPoPBoundAccessTokens, c.TLSClientCertificateBoundAccessTokens = r.Members[dpopBound] == true, r.Members[certificateBound] == true
	r.Client, r.Token, r.URI = &c, text("registration_access_token"), text("registration_client_uri")
	return r
}

// Strings are those of an array in the answer.
func (r *Registered) Strings(name string) []string {
	list, _ := r.Members[name].([]any)
	var out []string
	for _, v := range list {
		if s, ok := v.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

// ConfigurationRequest is one request to a client's configuration endpoint (RFC 7592 §2).
type ConfigurationRequest struct {
	Method string
	Of     *Registered
	Token  *string // instead of its registration access token; "" for none
	Change MembersChange
}

// Configure reads (GET), changes (PUT) or removes (DELETE) a registered client. Granted is what the method is for. A server may hand out a
// new registration access token with each answer (RFC 7592 §3): it replaces the old one.
func (tr *Trace) Configure(q ConfigurationRequest) Outcome {
	const at = "the client configuration endpoint"
	if !q.Of.Managed() {
		return Outcome{At: at, Why: "the server gave no registration_client_uri with a registration_access_token"}
	}
	r := &Request{Step: map[string]string{http.MethodGet: "client read", http.MethodPut: "client update", http.MethodDelete: "client removal"}[q.Method],
		Method: q.Method, URL: q.Of.URI, As: q.Of.cert, Header: []Field{{"Accept", "application/json"}}}
	if q.Method == http.MethodPut {
		members := q.Of.update()
		if q.Change != nil {
			before := members.clone()
			q.Change(&members)
			r.Changed = append(r.Changed, before.differences(members)...)
		}
		body, err := spelt(members)
		if err != nil {
			return Outcome{At: at, Why: "the request cannot be built: " + err.Error()}
		}
		r.Body, r.Header = body, append(r.Header, Field{"Content-Type", "application/json"})
	}
	token := q.Of.Token
	if q.Token != nil {
		token, r.Changed = *q.Token, append(r.Changed, "registration access token")
		tr.Redactor.Register("registration_access_token", token)
	}
	if token != "" {
		r.Header = append(r.Header, Field{"Authorization", "Bearer " + token})
	}
	answer := tr.uncut(*r)
	o := settle(answer, at)
	if !answer.OK() || answer.Status < 200 || answer.Status > 299 {
		return o
	}
	if q.Method == http.MethodDelete {
		tr.ledger.remove(q.Of)
		o.State, o.Got = Granted, "the client was removed"
		return o
	}
	read := readRegistered(answer, q.Of.Client)
	if read == nil {
		return o
	}
	read.Token, read.URI, read.cert = valueOr(read.Token, q.Of.Token), valueOr(read.URI, q.Of.URI), q.Of.cert
	read.Client.ClientSecret = valueOr(read.Client.ClientSecret, q.Of.Client.ClientSecret)
	tr.Redactor.Register("registration_access_token", read.Token)
	q.Of.Token, q.Of.URI, q.Of.Members = read.Token, read.URI, read.Members // the ledger has it too
	o.State, o.Registered = Granted, read
	o.Got = map[string]string{http.MethodGet: "the registration was shown", http.MethodPut: "the registration was changed"}[q.Method]
	return o
}

// update are the members of a client as they were returned last, in the form in which they may be sent back (RFC 7592 §2.2).
func (r *Registered) update() Object {
	var out Object
	for _, name := range sortedKeys(r.Members) {
		switch name {
		case "registration_access_token", "registration_client_uri", "client_secret_expires_at", "client_id_issued_at":
		default:
			out.Set(name, r.Members[name])
		}
	}
	return out
}

// differences names the members in which another object differs.
func (o Object) differences(other Object) []string {
	var out []string
	for _, m := range slices.Concat(o, other) {
		a, _ := json.Marshal(o.Get(m.Name))
		b, _ := json.Marshal(other.Get(m.Name))
		if string(a) != string(b) && !slices.Contains(out, m.Name) {
			out = append(out, m.Name)
		}
	}
	return out
}

// ledger lists what popcheck has registered and not removed yet.
type ledger struct {
	mu   sync.Mutex
	open []*Registered
	lost []string // names of clients whose registration was not answered
}

func (l *ledger) add(r *Registered) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open = append(l.open, r)
}

// lose notes a registration of which nobody knows whether it took place.
func (l *ledger) lose(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost = append(l.lost, name)
}

// remove strikes a client, under whatever token it is listed.
func (l *ledger) remove(r *Registered) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open = slices.DeleteFunc(l.open, func(o *Registered) bool { return o.URI == r.URI })
}

// close returns what is listed, and lists it no more.
func (l *ledger) close() (open []*Registered, lost []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	open, lost, l.open, l.lost = l.open, l.lost, nil, nil
	return open, lost
}

// Unregister removes what popcheck has registered, also when the run was interrupted, and says what stays at the server and why.
func (t *Tester) Unregister() (left []string) {
	// Who interrupts a run does not want to wait for a server that does not answer.
	ctx, cancel := context.WithTimeout(context.Background(), 3*t.Target.Limits.Timeout)
	defer cancel()
	tr := t.Trace(ctx, "clean-up")
	tr.parting = true
	open, lost := t.ledger.close()
	gone := map[string]bool{} // two may be listed under one address, where a server let one take the place of the other
	for _, r := range open {
		why := "the server gave no registration_client_uri with a registration_access_token (RFC 7592)"
		if r.Managed() {
			o := tr.Configure(ConfigurationRequest{Method: http.MethodDelete, Of: r})
			if o.State == Granted {
				gone[r.URI] = true
				continue
			}
			why = "its removal was refused (" + o.String() + ")"
			if o.State == Unknown {
				why = "its removal failed: " + o.String()
			}
		}
		if !gone[r.URI] || r.URI == "" {
			left = append(left, fmt.Sprintf("client %s (client_id %s): %s", r.Client.called(), r.Client.ClientID, why))
		}
	}
	for _, name := range lost {
		left = append(left, fmt.Sprintf("client %s: its registration was not answered in time; whether there is one, nobody knows", name))
	}
	return left
}

// registerClients registers those of the target file that ask for it. One that is refused takes no part in the run.
func (tr *Trace) registerClients() {
	var clients []Client
	for _, c := range tr.Target.Clients {
		if !c.Register {
			clients = append(clients, c)
			continue
		}
		o := tr.Register(RegistrationRequest{Like: &c})
		if o.State != Granted {
			tr.Learned.Problems = append(tr.Learned.Problems, fmt.Sprintf("%s:%d: client %s could not be registered: %s%s", tr.Target.Path, c.Line, c.called(), o, o.said()))
			continue
		}
		tr.Learned.observeManagement(o.Registered)
		clients = append(clients, *o.Registered.Client)
		if tr.Target.IntrospectionClient == c.Name {
			tr.Target.IntrospectionClient = o.Registered.Client.ClientID
		}
	}
	tr.Target.Clients = clients
}

func (l *Learned) observeManagement(r *Registered) {
	if r.Managed() {
		l.set("dcr-manage", Yes, "observed: a registration brings registration_client_uri and registration_access_token")
	} else {
		l.set("dcr-manage", No, "observed: a registration brings no registration_client_uri with a registration_access_token")
	}
}

// discoverRegistration reads what metadata and target file say of registration. Where the file does not speak of it, nothing is registered.
func (t *Tester) discoverRegistration() {
	l, r := t.Learned, t.Target.Registration
	if r == nil {
		l.set("dcr", No, "declared: the target file has no registration, and no client that asks for it")
		r = &Registration{}
	} else if t.Metadata.Has("registration_endpoint") {
		l.set("dcr", Yes, "discovered: registration_endpoint")
	} else if t.Metadata.Problem == "" {
		l.set("dcr", No, "discovered: the metadata has no registration_endpoint")
	}
	declared := func(capability, what string, found bool) {
		l.set(capability, No, "declared: the target file names no "+what)
		if found {
			l.set(capability, Yes, "declared: "+what)
		}
	}
	declared("initial-access-token", "registration.initial_access_token", r.InitialAccessToken != "")
	declared("ssa", "registration.software_statement", r.Statement != nil)
	declared("ssa-required", "capability ssa-required", false)
}
