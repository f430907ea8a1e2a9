package harness

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jws"
)

// ResourceCall is one request to a protected resource; the zero changes are the honest request.
type ResourceCall struct {
	Who      Identity
	Token    string
	Resource *Resource
	Scheme   string // "" is DPoP with a key and Bearer without
	Change   Change
	Proof    ProofChange
}

// formType is the header field of a form (RFC 6749, appendix B).
func formType() Field { return Field{"Content-Type", "application/x-www-form-urlencoded"} }

// AsForm sends the parameters of a request to a resource in its body.
func (m *Message) AsForm() { m.Method, m.Header = formMethod, append(m.Header, formType()) }

// Call asks for a resource. Granted means that the answer is the one that the target file names as the proof of access. At a
// resource that opened for a token that nobody issued nothing is learned.
func (tr *Trace) Call(q ResourceCall) Outcome {
	if why := tr.Distrusted(q.Resource.Name); why != "" {
		return Outcome{At: q.Resource.Name, Why: why}
	}
	return tr.Ask(q)
}

// Attempt is Call for an attack. That it opens says something only where a request of the same form does not open for a token that
// nobody issued: another method may be another, open resource, and a token that is not in its place may not be looked at.
func (tr *Trace) Attempt(q ResourceCall) Outcome {
	o := tr.Call(q)
	if o.State != Granted {
		return o
	}
	q.Token = tr.UnknownToken()
	if tr.Call(q).State == Granted {
		return Outcome{At: o.At, Why: o.At + " answers a request of this form in the same way for a token that nobody issued"}
	}
	return o
}

// Ask is Call for the one question whether a resource can be trusted.
func (tr *Trace) Ask(q ResourceCall) Outcome {
	at := q.Resource.Name
	scheme := q.Scheme
	if scheme == "" {
		scheme = "Bearer"
		if q.Who.Key != nil {
			scheme = "DPoP"
		}
	}
	m := &Message{Method: q.Resource.Method, URL: q.Resource.URL, Who: q.Who, Header: []Field{{"Accept", "*/*"}}}
	if q.Token != "" {
		m.Header = append(m.Header, Field{"Authorization", scheme + " " + q.Token})
	}
	header, cert, address := slices.Clone(m.Header), m.Who.Cert, m.URL
	if q.Change != nil {
		q.Change(m, Facts{Tester: tr.Tester, Cert: cert})
	}
	answer, err := tr.proven(m.Who.Key, q.Resource.Method, q.Resource.URL, q.Token, q.Proof, func(fields []Field) (*Request, error) {
		r := &Request{Step: "resource request", Method: m.Method, URL: m.URL, Header: append(slices.Clone(m.Header), fields...), As: m.Who.Cert, Session: m.Session, Over: m.Over}
		switch {
		case len(m.Params) == 0:
		case slices.Contains(m.Header, formType()):
			r.Body = m.Params.Encode()
			r.Changed = append(r.Changed, "body")
		default:
			r.URL += "?" + m.Params.Encode()
			r.Changed = append(r.Changed, "query")
		}
		if !slices.Equal(header, m.Header) {
			r.Changed = append(r.Changed, "Authorization")
		}
		if cert != m.Who.Cert {
			r.Changed = append(r.Changed, "client certificate")
		}
		if address != m.URL || m.Method != q.Resource.Method {
			r.Changed = append(r.Changed, "address")
		}
		if minted, own := tr.minted[q.Token]; own {
			r.Decoded, r.Changed = append(r.Decoded, minted.Decoded), append(r.Changed, minted.changed...)
		}
		return r, nil
	})
	if err != nil {
		return Outcome{At: at, Why: "the request cannot be built: " + err.Error()}
	}
	o := settle(answer, at)
	if answer.OK() {
		switch {
		case answer.Status == q.Resource.Status:
			return Outcome{State: Granted, At: at, Got: at + " opened", Status: answer.Status, Answer: answer}
		case answer.Status/100 == 2 && o.State == Refused:
			o.State, o.Why = Unknown, fmt.Sprintf("%s answered HTTP %d, neither the %d that the target file names as access nor a refusal", at, answer.Status, q.Resource.Status)
		case o.State == Refused:
			o.Error, o.Where = resourceErrorOf(answer)
		}
	}
	return o
}

// ResourcesFor are the resources that a client's tokens should open: those whose scope the client may ask for. Where the
// file names none at all, UserInfo stands in for tokens that a user granted (OpenID Connect Core §5.3).
func (t *Tester) ResourcesFor(c *Client, grant string) []*Resource {
	var out []*Resource
	own := strings.Fields(c.Scope)
	for i := range t.Target.Resources {
		r := &t.Target.Resources[i]
		fits := true
		for _, s := range strings.Fields(r.Scope) {
			fits = fits && (slices.Contains(own, s) || len(own) == 0 && c.HasGrant(BroughtGrant))
		}
		if fits && !(backend(grant) && r.URL == t.Metadata.String("userinfo_endpoint")) {
			out = append(out, r)
		}
	}
	if len(t.Target.Resources) == 0 && !backend(grant) && slices.Contains(own, "openid") {
		if address := t.Metadata.String("userinfo_endpoint"); address != "" {
			out = append(out, &Resource{Name: "userinfo", URL: address, Method: http.MethodGet, Scope: "openid", Status: 200})
		}
	}
	return out
}

// backend reports whether a grant is used without a login: its tokens have no scope that speaks of a user.
func backend(grant string) bool {
	return grant == ClientCredentialsGrant || grant == JWTBearerGrant || grant == SelfIssuedGrant
}

// Spend shows whether an access token is worth anything: at a resource; failing that by introspection; failing that because it
// is signed by the server and not expired. Got says which. A token that opened nothing is Refused; where nothing can be
// asked at all, that the server issued it must do.
func (tr *Trace) Spend(token *Token, grant string) Outcome {
	const worth = "an access token was issued"
	var refused *Outcome
	for _, r := range tr.spendable(token.Who, grant) {
		o := tr.Call(ResourceCall{Who: token.Who, Token: token.AccessToken, Resource: r, Scheme: spendScheme(token)})
		switch o.State {
		case Granted:
			o.Token, o.Got = token, worth+" and opened "+r.Name
			return o
		case Unknown:
			return o
		}
		if refused == nil {
			refused = &o
		}
	}
	if refused != nil {
		return *refused
	}
	if tr.CanIntrospect() {
		active, o := tr.Introspect(token.AccessToken)
		if o.State == Granted && active != nil {
			if v, _ := active["active"].(bool); v {
				return Outcome{State: Granted, At: "the token endpoint", Got: worth + ", and introspection calls it active", Token: token, Answer: o.Answer}
			}
			return Outcome{State: Refused, At: "the introspection endpoint", Status: o.Status, Answer: o.Answer, Where: InBody, Error: "active=false"}
		}
	}
	return Outcome{State: Granted, At: "the token endpoint", Got: worth, Token: token, Unspent: true}
}

// spendable are the resources at which a token of an identity is tried: those that its honest token opened, if that is known.
func (t *Tester) spendable(who Identity, grant string) []*Resource {
	if grant == RefreshGrant {
		grant = CodeGrant
	}
	for _, b := range []Binding{who.Binding(), DPoPBound, CertificateBound, Unbound} {
		if trial := t.Learned.Trial(who.Client.called(), grant, b); trial != nil && len(trial.Opens) > 0 {
			return trial.Opens[:1]
		}
	}
	return t.ResourcesFor(who.Client, grant)
}

func spendScheme(token *Token) string {
	if token.Who.Key != nil && strings.EqualFold(token.TokenType, "DPoP") {
		return "DPoP"
	}
	return "Bearer"
}

// Loot judges a token that an attack brought: it counts when it opens something for the attacker in any way, when introspection
// calls it active, or when it is signed by the server and not expired, since a resource that checks tokens by
// themselves would take it.
func (tr *Trace) Loot(o Outcome, grant string) Outcome {
	if o.State != Granted || o.Token == nil {
		return o
	}
	token := *o.Token
	ways := []Identity{token.Who}
	if token.Who.Key != nil || token.Who.Cert != nil {
		ways = append(ways, Identity{Client: token.Who.Client, Cert: token.Who.Cert}, Identity{Client: token.Who.Client})
	}
	var last Outcome
	for i, who := range ways {
		if i > 0 && who == ways[i-1] {
			continue
		}
		token.Who = who
		spent := tr.Spend(&token, grant)
		if spent.State == Granted {
			spent.Token = o.Token
			return spent
		}
		last = spent
	}
	if tr.CanIntrospect() {
		if active, answer := tr.Introspect(token.AccessToken); answer.State == Granted {
			if v, _ := active["active"].(bool); v {
				o.Got = "an access token was issued, and introspection calls it active"
				return o
			}
		}
	}
	if tr.signedByServer(token.AccessToken) {
		o.Got = "an access token was issued, signed by the server and not expired, though no resource of the target file opened for it"
		return o
	}
	if last.State == Unknown {
		return last
	}
	o.State, o.Where, o.Error = Refused, InBody, ""
	o.Got = "an access token was issued that opened nothing (" + last.String() + ")"
	return o
}

// signedByServer verifies a JWT access token with the server's published keys.
func (tr *Trace) signedByServer(compact string) bool {
	claims, ok := claimsOf(compact)
	if !ok {
		return false
	}
	if exp, ok := claims["exp"].(float64); ok && time.Unix(int64(exp), 0).Before(time.Now()) {
		return false
	}
	address := tr.Metadata.String("jwks_uri")
	if address == "" {
		return false
	}
	answer := tr.Do(Request{Step: "key set", Method: "GET", URL: address})
	if !answer.OK() || answer.Status != 200 {
		return false
	}
	set, err := jwk.Parse(answer.Body)
	if err != nil {
		return false
	}
	_, err = jws.Verify([]byte(compact), jws.WithKeySet(set, jws.WithInferAlgorithmFromKey(true), jws.WithRequireKid(false)))
	return err == nil
}

// CanIntrospect reports whether there is an introspection endpoint and a client that may use it.
func (t *Tester) CanIntrospect() bool {
	return t.Target.IntrospectionClient != "" && t.Metadata.Has("introspection_endpoint")
}

// Introspect asks about a token in the name of the introspection client (RFC 7662 §2).
func (tr *Trace) Introspect(token string) (map[string]any, Outcome) {
	return tr.IntrospectAs(token, tr.Honest(tr.Target.Client(tr.Target.IntrospectionClient), Unbound), nil)
}

// IntrospectAs asks about a token in the name of a client; a change of an attack is made after client authentication was added.
func (tr *Trace) IntrospectAs(token string, who Identity, change Change) (map[string]any, Outcome) {
	const at = "the introspection endpoint"
	answer, err := tr.form("introspection request", "introspection_endpoint", who, Params{{"token", token}}, change)
	if err != nil {
		return nil, Outcome{At: at, Why: err.Error()}
	}
	var members map[string]any
	if answer.OK() && answer.Status == 200 && json.Unmarshal(answer.Body, &members) == nil {
		if _, ok := members["active"].(bool); ok {
			return members, Outcome{State: Granted, At: at, Got: "an answer", Status: 200, Answer: answer}
		}
	}
	return nil, settle(answer, at)
}

// form posts to an endpoint of the AS that takes client authentication and no proof.
func (tr *Trace) form(step, endpoint string, who Identity, params Params, change Change) (*Answer, error) {
	address := tr.Metadata.Endpoint(endpoint, who.Cert)
	if address == "" {
		return nil, fmt.Errorf("no %s is known: %s", endpoint, tr.whyNoMetadata())
	}
	tr.Redactor.Register("token", params.Get("token"))
	m := &Message{Method: formMethod, URL: address, Params: params, Who: who}
	if err := tr.authenticate(m, nil, nil); err != nil {
		return nil, err
	}
	if change != nil {
		change(m, Facts{Tester: tr.Tester, Cert: who.Cert})
	}
	return tr.Do(*formRequest(step, m, nil)), nil
}

// Revoke asks the server to end a token, in the name of the client that it was issued to (RFC 7009 §2.1). Granted means HTTP 200.
func (tr *Trace) Revoke(token string, who Identity) Outcome { return tr.RevokeAs(token, who, nil) }

// RevokeAs is Revoke with a change of an attack, made after client authentication was added.
func (tr *Trace) RevokeAs(token string, who Identity, change Change) Outcome {
	const at = "the revocation endpoint"
	answer, err := tr.form("revocation request", "revocation_endpoint", who, Params{{"token", token}}, change)
	if err != nil {
		return Outcome{At: at, Why: err.Error()}
	}
	if answer.OK() && answer.Status == http.StatusOK {
		return Outcome{State: Granted, At: at, Got: "the token was revoked", Status: answer.Status, Answer: answer}
	}
	return settle(answer, at)
}

// CleanUp revokes the refresh tokens of the preflight, where the server has a revocation endpoint: the grants behind them would
// outlive the run. It is a courtesy, and says nothing about the target.
func (t *Tester) CleanUp(ctx context.Context) {
	if !t.Metadata.Has("revocation_endpoint") {
		return
	}
	tr := t.Trace(ctx, "clean-up")
	for _, trial := range t.Learned.Trials {
		if token := trial.Outcome.Token; token != nil && token.RefreshToken != "" {
			tr.Revoke(token.RefreshToken, token.Who)
		}
	}
}
