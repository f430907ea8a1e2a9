package harness

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Minted is an access token (RFC 9068 §2) of popcheck's own issuer before it is signed. An attack changes it.
type Minted struct {
	signedJWT
	Who    Identity // the holder
	Tester *Tester
}

const mintedName = "access token"

// tokenShown is what the record says of a minted token wherever it is sent.
type tokenShown struct {
	Decoded
	changed []string
}

// MintChange is the one defect of a minted token.
type MintChange func(*Minted)

// newTokenKey is the key of an issuer; given is that of the run, which several processes share, or nil.
func newTokenKey(i *TokenIssuer, given []byte) (*Key, error) {
	if given == nil {
		given = i.PrivateKey
	}
	var key *Key
	var err error
	if given != nil {
		key, err = parseKey("key of the issuer", given)
	} else {
		key, err = NewKey("key of the issuer", valueOr(i.Algorithm, "ES256"), minRSABits)
	}
	if err != nil {
		return nil, err
	}
	if i.Algorithm != "" {
		key.Alg = i.Algorithm
	}
	if key.KeyID == "" {
		key.KeyID = key.Thumbprint()
	}
	return key, nil
}

// NewIssuerKey is a private key, as a JWK, for the token issuer of a run that several processes share; nil where there is no need of one.
func NewIssuerKey(t *Target) ([]byte, error) {
	if t.TokenIssuer == nil || t.TokenIssuer.PrivateKey != nil {
		return nil, nil
	}
	key, err := newTokenKey(t.TokenIssuer, nil)
	if err != nil {
		return nil, err
	}
	return json.Marshal(key.PrivateJWK())
}

// honestToken is a token for a resource, with a scope; "" is the holder's own.
func (t *Tester) honestToken(who Identity, r *Resource, scope string) Minted {
	i, now := t.Target.TokenIssuer, time.Now()
	m := Minted{Who: who, Tester: t}
	m.Key = t.keys.tokens
	m.Header = Object{{"alg", m.Key.Alg}, {"typ", "at+jwt"}, {"kid", m.Key.KeyID}}
	for _, name := range sortedKeys(i.Header) {
		m.Header.Set(name, i.Header[name])
	}
	m.Claims = Object{{"iss", i.Issuer}, {"sub", "popcheck"}, {"client_id", "popcheck"}, {"aud", t.audience()}}
	if scope == "" {
		scope = who.Client.Scope
	}
	if scope != "" {
		m.Claims.Set("scope", scope)
	}
	for _, name := range sortedKeys(i.Claims) {
		if name != "scope" {
			m.Claims.Set(name, i.Claims[name])
		}
	}
	if r != nil && r.Indicator != "" {
		m.Claims.Set("aud", r.Indicator)
	}
	m.Claims = append(m.Claims, Object{{"iat", now.Unix()}, {"exp", now.Add(i.Lifetime).Unix()}, {"jti", Random(16)}}...)
	var cnf Object // each binding that the holder can show
	if who.Key != nil {
		cnf.Set("jkt", who.Key.Thumbprint())
	}
	if who.Cert != nil && who.Client.TLSClientCertificateBoundAccessTokens {
		cnf.Set("x5t#S256", who.Cert.Thumbprint())
	}
	if cnf != nil {
		m.Claims.Set("cnf", cnf)
	}
	return m
}

// audience is the aud of tokens that are for no resource in particular.
func (t *Tester) audience() any {
	if aud, ok := t.Target.TokenIssuer.Claims["aud"]; ok {
		return aud
	}
	first := t.Target.Resources[0]
	return valueOr(first.Indicator, first.URL)
}

// NamesAudience reports whether the target file says what the aud of tokens for a resource is: then the resource can be held to it.
func (t *Target) NamesAudience(r *Resource) bool {
	return r.Indicator != "" || t.TokenIssuer != nil && t.TokenIssuer.Claims["aud"] != nil
}

// Mint issues a token to its holder, in the name of popcheck's own issuer; a change makes it one that no sound resource takes.
// r is the resource that it is for, or nil.
func (tr *Trace) Mint(who Identity, r *Resource, change MintChange) Outcome {
	return tr.mint(who, r, "", change)
}

func (tr *Trace) mint(who Identity, r *Resource, scope string, change MintChange) Outcome {
	const at = "popcheck's own issuer"
	m := tr.honestToken(who, r, scope)
	honest := m.clone()
	if change != nil {
		change(&m)
	}
	compact, err := m.compact()
	if err != nil {
		return Outcome{At: at, Why: "the token cannot be made: " + err.Error()}
	}
	tr.Redactor.Register("access_token", compact)
	var shown tokenShown
	shown.Decoded, shown.changed = m.evidence(honest, mintedName, mintedName)
	if tr.minted == nil {
		tr.minted = map[string]tokenShown{}
	}
	tr.minted[compact] = shown
	token := &Token{AccessToken: compact, TokenType: "Bearer", Who: who, ExpiresIn: json.RawMessage(strconv.Itoa(int(tr.Target.TokenIssuer.Lifetime.Seconds())))}
	if who.Key != nil {
		token.TokenType = "DPoP"
	}
	if claim, ok := m.Claims.Get("scope").(string); ok {
		token.Scope = claim
	}
	return Outcome{State: Granted, At: at, Got: "an access token was made", Token: token}
}

// brought is the token of a holder that the user brought.
func (tr *Trace) brought(who Identity) Outcome {
	i := slices.IndexFunc(tr.Target.Tokens, func(b BroughtToken) bool { return b.Name == who.Client.ClientID })
	token := &Token{AccessToken: tr.Target.Tokens[i].Token, TokenType: "Bearer", Scope: tr.Target.Tokens[i].Scope, Who: who}
	if who.Key != nil {
		token.TokenType = "DPoP"
	}
	return Outcome{State: Granted, At: "the target file", Got: "an access token is there", Token: token}
}

// keySet is the public key of the token issuer as resources read it (RFC 7517 §5).
func (k *Key) keySet() ([]byte, error) {
	jwk := append(k.PublicJWK(), Object{{"use", "sig"}, {"alg", k.Alg}, {"kid", k.KeyID}}...)
	return json.MarshalIndent(Object{{"keys", []any{jwk}}}, "", "  ")
}

// Publish writes and serves the keys of the token issuer for the time of a run, where the target file says so; else it does nothing.
// close ends that.
func (t *Tester) Publish() (close func(), err error) {
	i := t.Target.TokenIssuer
	if i == nil {
		return func() {}, nil
	}
	keys, err := t.keys.tokens.keySet()
	if err != nil {
		return nil, err
	}
	if i.JWKSFile != "" {
		if err := os.WriteFile(i.JWKSFile, append(keys, '\n'), 0o644); err != nil {
			return nil, fmt.Errorf("%s:%d: token_issuer.jwks_file: %w", t.Target.Path, i.Line, err)
		}
	}
	if i.Listen == "" {
		return func() {}, nil
	}
	listener, err := net.Listen("tcp", i.Listen)
	if err != nil {
		return nil, fmt.Errorf("%s:%d: token_issuer.listen: %w", t.Target.Path, i.Line, err)
	}
	server := &http.Server{Handler: i.documents(t.keys.tokens.Alg, keys), ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 64 << 10}
	go server.Serve(listener) // until it is closed
	return func() { server.Close() }, nil
}

// Published are the ways in which resources get the keys of the token issuer, for people.
func (t *Tester) Published() []string {
	i := t.Target.TokenIssuer
	if i == nil {
		return nil
	}
	key := t.keys.tokens
	told := []string{fmt.Sprintf("popcheck itself, as %s, with key %s (%s)", i.Issuer, key.KeyID, key.Alg)}
	if i.PrivateKey == nil {
		told[0] += ", another one in each run: private_key keeps it"
	}
	if i.JWKSFile != "" {
		told = append(told, "key set written to "+i.JWKSFile)
	}
	if i.Listen != "" {
		told = append(told, "while popcheck runs: key set at "+i.base()+"/jwks, metadata at "+i.base()+"/.well-known/openid-configuration")
	}
	return told
}

// base is the address under which the documents of the issuer are served: it has the path of the issuer.
func (i *TokenIssuer) base() string {
	path := ""
	if u, err := url.Parse(i.Issuer); err == nil {
		path = strings.TrimSuffix(u.Path, "/")
	}
	return "http://" + i.Listen + path
}

// documents are the metadata at both places (RFC 8414 §3, OpenID Connect Discovery §4), and the key set. There are no other endpoints.
func (i *TokenIssuer) documents(alg string, keys []byte) http.Handler {
	base := i.base()
	metadata, _ := json.Marshal(map[string]any{ // strings alone
		"issuer": i.Issuer, "jwks_uri": base + "/jwks", "authorization_endpoint": base + "/authorize", "token_endpoint": base + "/token",
		"response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"}, "id_token_signing_alg_values_supported": []string{alg},
		"grant_types_supported": []string{}, "token_endpoint_auth_methods_supported": []string{"none"},
	})
	path := strings.TrimPrefix(base, "http://"+i.Listen)
	documents := map[string][]byte{path + "/jwks": keys}
	for _, name := range []string{"oauth-authorization-server", "openid-configuration"} {
		documents["/.well-known/"+name+path], documents[path+"/.well-known/"+name] = metadata, metadata
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		document, ok := documents[r.URL.Path]
		if !ok || r.Method != http.MethodGet && r.Method != http.MethodHead {
			http.Error(w, "popcheck issues tokens to itself only", http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		w.Write(document)
	})
}

// ownHolders finds the certificates and keys of the holders of a target without an authorization server.
func (r *keyRing) ownHolders(target *Target, given []byte) (err error) {
	if i := target.TokenIssuer; i != nil {
		if r.tokens, err = newTokenKey(i, given); err != nil {
			return fmt.Errorf("%s:%d: token_issuer.private_key: %w", target.Path, i.Line, err)
		}
		r.known(r.tokens)
		for _, c := range target.Clients {
			if !c.TLSClientCertificateBoundAccessTokens {
				continue
			}
			if i.Certificate != nil && c.ClientID == string(CertificateBound) {
				r.certs[c.ClientID], err = parseCertificate("certificate of "+c.ClientID, i.Certificate)
			} else {
				r.certs[c.ClientID], err = r.clientCA.Issue(Issue{Name: "certificate of " + c.ClientID, Like: &x509.Certificate{}, Subject: &pkix.Name{CommonName: "popcheck " + c.ClientID}})
			}
			if err != nil {
				return fmt.Errorf("%s:%d: token_issuer.certificate: %w", target.Path, i.Line, err)
			}
		}
	}
	for n, b := range target.Tokens {
		if b.PrivateKey == nil {
			continue
		}
		key, err := parseKey(b.Name, b.PrivateKey)
		if err != nil {
			return fmt.Errorf("%s:%d: tokens[%d].private_key: %w", target.Path, b.Line, n, err)
		}
		r.made[b.Name] = r.known(key)
	}
	return nil
}

// learnAlone tries what resources take of tokens that come from no server. A kind of token that is made here, and that no resource
// takes, is no problem: nobody said that it should.
func (t *Tester) learnAlone(tr *Trace) {
	l := t.Learned
	for i := range t.Target.Clients {
		c := &t.Target.Clients[i]
		grant := c.GrantTypes[0]
		for _, b := range t.bindings(c) {
			trial := Trial{Client: c, Grant: grant, Binding: b, Works: NotKnown, Refresh: No}
			before := tr.Recorded()
			trial.Outcome = tr.Obtain(t.Honest(c, b), grant)
			if trial.Outcome.State == Granted {
				spent := tr.spendEverywhere(&trial, trial.Outcome.Token)
				switch trial.How = spent.String(); {
				case spent.State == Unknown:
				case spent.State == Refused:
					trial.Works, trial.How = No, "observed: "+spent.String()
				case b == CertificateBound && !t.expected(b) && !askedForCertificates(tr.Since(before)):
					trial.Works, trial.Opens = No, nil
					trial.How = "observed: no resource asks for client certificates; where they are checked all the same, write token_issuer: {bindings: [mtls]}"
				default:
					trial.Works, trial.How = Yes, "observed: "+spent.Got
				}
			}
			if trial.Works != Yes && (t.expected(b) || trial.Works == NotKnown) {
				trial.Works = NotKnown
				l.Problems = append(l.Problems, fmt.Sprintf("%s:%d: the token of %s (%s) opens no resource: %s", t.Target.Path, c.Line, c.ClientID, b, trial.How))
			}
			l.Trials = append(l.Trials, trial)
		}
	}
	for i := range t.Target.Resources {
		r := &t.Target.Resources[i]
		if !slices.ContainsFunc(l.Trials, func(trial Trial) bool { return trial.Opened(r) }) && l.distrusted[r.Name] == "" && !t.opensByName(tr, r) {
			l.Problems = append(l.Problems, fmt.Sprintf("%s:%d: no token opens %s: %s; %s", t.Target.Path, r.Line, r.Name, l.closed(r), t.closedBecause()))
		}
	}
}

// closed says how a resource refused each kind of token: what it says of one that it takes may be of more use than what it says of others.
func (l *Learned) closed(r *Resource) string {
	var answers []string
	by := map[string][]string{}
	for _, trial := range l.Trials {
		said := valueOr(trial.closed[r], trial.How)
		if by[said] == nil {
			answers = append(answers, said)
		}
		by[said] = append(by[said], trial.Client.ClientID)
	}
	for i, said := range answers {
		answers[i] = strings.Join(by[said], ", ") + ": " + said
	}
	return strings.Join(answers, "; ")
}

// closedBecause is what a person may look at when a resource takes no token at all.
func (t *Tester) closedBecause() string {
	i := t.Target.TokenIssuer
	if i == nil {
		return "are they expired, is grants.status right?"
	}
	ask := "does it trust the issuer and its keys, are aud, scope and grants.status right?"
	if i.PrivateKey == nil {
		ask += " The key is another one in each run, and a server that keeps key sets may still have that of the last: private_key keeps it"
	}
	return ask
}

// opensByName reports whether a token with the resource's own name as aud opens it.
func (t *Tester) opensByName(tr *Trace, r *Resource) bool {
	return r.Indicator != "" && slices.ContainsFunc(t.Learned.Trials, func(trial Trial) bool {
		if trial.Grant != SelfIssuedGrant {
			return false
		}
		who := t.Honest(trial.Client, trial.Binding)
		o := tr.ObtainFor(who, trial.Grant, r, "")
		return o.State == Granted && tr.Call(ResourceCall{Who: who, Token: o.Token.AccessToken, Resource: r, Scheme: spendScheme(o.Token)}).State == Granted
	})
}

// expected reports whether the target file says that tokens of a binding open a resource.
func (t *Tester) expected(b Binding) bool {
	capability := map[Binding]string{DPoPBound: "dpop-rs", CertificateBound: "mtls-rs", Unbound: "bearer"}[b]
	return t.Target.TokenIssuer == nil || slices.Contains(t.Target.TokenIssuer.Bindings, b) || t.Target.Capabilities[capability]
}

func askedForCertificates(exchanges []Exchange) bool {
	return slices.ContainsFunc(exchanges, func(x Exchange) bool { return x.TLS != nil && x.TLS.CertificateRequested })
}

// noServer takes back what is said of authorization servers where there is none.
func (t *Tester) noServer() {
	for _, name := range []string{"as-metadata", "par", "introspection", "revocation", "mtls-aliases", "iss", "code", "client-credentials", "jwt-bearer", "private-key-jwt",
		"par-required", "public-client", "confidential-client", "mtls-pki", "mtls-self-signed", "second-user", "refresh", "nonce-as", "pkce-optional"} {
		t.Learned.set(name, No, NoServer)
	}
}

// ownMetadata is what stands for the metadata of a server: what popcheck knows of its own issuer.
func (t *Tester) ownMetadata() *Metadata {
	m := &Metadata{Members: map[string]any{}, From: "none: there is no authorization server"}
	if i := t.Target.TokenIssuer; i != nil {
		m.Members["issuer"], m.From = i.Issuer, "none: popcheck itself is the issuer"
	}
	return m
}
