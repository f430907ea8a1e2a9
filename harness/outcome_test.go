package harness

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

func answerOf(status int, body string, challenges ...string) *Answer {
	a := &Answer{Status: status, Header: http.Header{}, Body: []byte(body)}
	if len(challenges) > 0 {
		a.Header["Www-Authenticate"] = challenges
	}
	return a
}

func TestMisfit(t *testing.T) {
	atToken := Refusal{Status: []int{400}, Errors: []string{"invalid_grant", "invalid_request"}, Where: []Where{InBody}}
	atResource := Refusal{Status: []int{401}, Errors: []string{"invalid_token"}, Where: []Where{InWWWAuthenticate, InTLS}, Scheme: "DPoP"}
	atClient := Refusal{Status: []int{302, 303}, Errors: []string{"invalid_request"}, Where: []Where{InRedirect}}
	refused := func(status int, code string, where Where) Outcome {
		return Outcome{State: Refused, Status: status, Error: code, Where: where}
	}
	challenged := func(o Outcome, challenge string) Outcome { o.Answer = answerOf(o.Status, "", challenge); return o }
	for name, test := range map[string]struct {
		form Refusal
		o    Outcome
		want []string // parts of the complaint; none is a fit
	}{
		"fits":                           {atToken, refused(400, "invalid_grant", InBody), nil},
		"fits the second code":           {atToken, refused(400, "invalid_request", InBody), nil},
		"another code":                   {atToken, refused(400, "server_error", InBody), []string{"the error code was server_error", "expected: HTTP 400", "invalid_grant or invalid_request", "in the body"}},
		"no code":                        {atToken, refused(400, "", InBody), []string{"no error code was given"}},
		"another status":                 {atToken, refused(403, "invalid_grant", InBody), []string{"the status was 403"}},
		"another code and status":        {atToken, refused(401, "invalid_client", InBody), []string{"invalid_client", "401"}},
		"another place":                  {atToken, refused(400, "invalid_grant", OnPage), []string{"on a page"}},
		"an empty answer":                {atToken, challenged(refused(401, "", OnPage), ""), []string{"by the status alone", "the status was 401"}},
		"broken":                         {atToken, refused(500, "", OnPage), []string{"on a page", "the status was 500"}},
		"broken, with the right code":    {atToken, refused(503, "invalid_grant", InBody), []string{"the status was 503"}},
		"posted to the client":           {atClient, refused(200, "invalid_request", InRedirect), nil},
		"told on a page":                 {Refusal{Status: []int{400}, Where: []Where{OnPage}}, refused(200, "", OnPage), nil},
		"a page where JSON is due":       {Refusal{Status: []int{400}}, refused(200, "", OnPage), []string{"the status was 200"}},
		"a redirect that repeats a form": {atClient, refused(307, "invalid_request", InRedirect), []string{"the status was 307"}},
		"dropped":                        {atToken, refused(0, "", Nowhere), []string{"by dropping the connection"}},
		"ended by TLS":                   {atToken, refused(0, "", InTLS), []string{"by ending the TLS connection"}},
		"ended by TLS, as it may":        {atResource, refused(0, "", InTLS), nil},
		"granted is no form":             {atToken, Outcome{State: Granted, Status: 200}, nil},
		"unknown is no form":             {atToken, Outcome{State: Unknown}, nil},
		"challenge of the scheme":        {atResource, challenged(refused(401, "invalid_token", InWWWAuthenticate), `DPoP error="invalid_token"`), nil},
		"challenge in lower case":        {atResource, challenged(refused(401, "invalid_token", InWWWAuthenticate), `dpop error="invalid_token"`), nil},
		"challenge of another scheme":    {atResource, challenged(refused(401, "invalid_token", InWWWAuthenticate), `Bearer error="invalid_token"`), []string{"no DPoP challenge"}},
		"scheme in a quoted string":      {atResource, challenged(refused(401, "invalid_token", InWWWAuthenticate), `Bearer realm="x, DPoP y", error="invalid_token"`), []string{"no DPoP challenge"}},
		"nothing asked, client error":    {Refusal{}, refused(418, "", OnPage), nil},
		"nothing asked, but broken":      {Refusal{}, refused(500, "", OnPage), []string{"the status was 500"}},
		"nothing asked, but dropped":     {Refusal{}, refused(0, "", Nowhere), []string{"dropped"}},
		"only a status is asked":         {Refusal{Status: []int{400, 413}}, refused(413, "", OnPage), nil},
		"a status of 500 that is asked":  {Refusal{Status: []int{500}}, refused(500, "", OnPage), nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := test.form.Misfit(test.o)
			if len(test.want) == 0 && got != "" {
				t.Errorf("complains: %s", got)
			}
			if len(test.want) > 0 && got == "" {
				t.Error("fits")
			}
			wantText(t, got, test.want...)
		})
	}
}

func TestErrorsAreFound(t *testing.T) {
	type found struct {
		code  string
		where Where
	}
	for name, test := range map[string]struct {
		body       string
		challenges []string
		as, rs     found // as errorOf and as resourceErrorOf see it
		schemes    string
		nonce      bool
	}{
		"JSON":                   {`{"error":"invalid_grant"}`, nil, found{"invalid_grant", InBody}, found{"invalid_grant", InBody}, "", false},
		"JSON without error":     {`{"message":"no"}`, nil, found{"", OnPage}, found{"", OnPage}, "", false},
		"JSON error of no text":  {`{"error":{"code":1}}`, nil, found{"", OnPage}, found{"", OnPage}, "", false},
		"page":                   {`<h1>Error</h1>`, nil, found{"", OnPage}, found{"", OnPage}, "", false},
		"scheme alone":           {``, []string{`DPoP`}, found{"", InWWWAuthenticate}, found{"", InWWWAuthenticate}, "DPoP", false},
		"quoted":                 {``, []string{`DPoP error="invalid_token", error_description="x"`}, found{"invalid_token", InWWWAuthenticate}, found{"invalid_token", InWWWAuthenticate}, "DPoP", false},
		"token":                  {``, []string{`Bearer error=invalid_token`}, found{"invalid_token", InWWWAuthenticate}, found{"invalid_token", InWWWAuthenticate}, "Bearer", false},
		"spaces around =":        {``, []string{`DPoP  realm = "a" ,  error = "invalid_token"`}, found{"invalid_token", InWWWAuthenticate}, found{"invalid_token", InWWWAuthenticate}, "DPoP", false},
		"lower and upper case":   {``, []string{`dpop ERROR="use_dpop_nonce"`}, found{"use_dpop_nonce", InWWWAuthenticate}, found{"use_dpop_nonce", InWWWAuthenticate}, "dpop", true},
		"body and challenge":     {`{"error":"unauthorized"}`, []string{`DPoP error="invalid_dpop_proof"`}, found{"unauthorized", InBody}, found{"invalid_dpop_proof", InWWWAuthenticate}, "DPoP", false},
		"nonce in the body":      {`{"error":"use_dpop_nonce"}`, []string{`Basic realm="x"`}, found{"use_dpop_nonce", InBody}, found{"", InWWWAuthenticate}, "Basic", true},
		"two schemes, one line":  {``, []string{`Bearer, DPoP algs="ES256 PS256"`}, found{"", InWWWAuthenticate}, found{"", InWWWAuthenticate}, "Bearer DPoP", false},
		"two schemes, two lines": {``, []string{`Bearer realm="x", error="invalid_token"`, `DPoP algs="ES256", error="invalid_dpop_proof"`}, found{"invalid_dpop_proof", InWWWAuthenticate}, found{"invalid_dpop_proof", InWWWAuthenticate}, "Bearer DPoP", false},
		"error of the other":     {``, []string{`Bearer error="invalid_token", DPoP algs="ES256"`}, found{"invalid_token", InWWWAuthenticate}, found{"invalid_token", InWWWAuthenticate}, "Bearer DPoP", false},
		"nonce of the second":    {``, []string{`Bearer error="invalid_token", DPoP error="use_dpop_nonce", algs="ES256"`}, found{"use_dpop_nonce", InWWWAuthenticate}, found{"use_dpop_nonce", InWWWAuthenticate}, "Bearer DPoP", true},
		"quoted commas":          {``, []string{`Bearer realm="a, DPoP error=\"use_dpop_nonce\", b", error="invalid_token"`}, found{"invalid_token", InWWWAuthenticate}, found{"invalid_token", InWWWAuthenticate}, "Bearer", false},
		"error in a description": {``, []string{`DPoP error_description="error=use_dpop_nonce"`}, found{"", InWWWAuthenticate}, found{"", InWWWAuthenticate}, "DPoP", false},
		"another parameter":      {``, []string{`DPoP x-error="use_dpop_nonce"`}, found{"", InWWWAuthenticate}, found{"", InWWWAuthenticate}, "DPoP", false},
		"credentials":            {``, []string{`Negotiate abc==, DPoP error="invalid_token"`}, found{"invalid_token", InWWWAuthenticate}, found{"invalid_token", InWWWAuthenticate}, "Negotiate DPoP", false},
		"unclosed quotes":        {``, []string{`DPoP error="invalid_token`}, found{"", InWWWAuthenticate}, found{"", InWWWAuthenticate}, "DPoP", false},
		"nothing in the field":   {``, []string{``}, found{"", OnPage}, found{"", OnPage}, "", false},
		"only commas":            {``, []string{`, ,`}, found{"", OnPage}, found{"", OnPage}, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			a := answerOf(401, test.body, test.challenges...)
			if code, where := errorOf(a); (found{code, where}) != test.as {
				t.Errorf("errorOf: %q %s, want %+v", code, where, test.as)
			}
			if code, where := resourceErrorOf(a); (found{code, where}) != test.rs {
				t.Errorf("resourceErrorOf: %q %s, want %+v", code, where, test.rs)
			}
			for _, scheme := range []string{"DPoP", "Bearer", "Basic", "Negotiate"} {
				want := slices.ContainsFunc(strings.Fields(test.schemes), func(s string) bool { return strings.EqualFold(s, scheme) })
				if challenges(a, scheme) != want {
					t.Errorf("challenges %s: %v", scheme, !want)
				}
			}
			if nonceChallenge(a) != test.nonce {
				t.Errorf("a nonce is asked for: %v", !test.nonce)
			}
			a.Status = 200
			if nonceChallenge(a) {
				t.Error("an answer of HTTP 200 asks for a nonce")
			}
		})
	}
}

func TestChallengeParameters(t *testing.T) {
	o := Outcome{Answer: answerOf(401, "", `Bearer realm="a \"b\", c", DPoP ALGS="ES256 PS256", empty=""`)}
	for name, want := range map[string]string{"algs": "ES256 PS256", "Realm": `a "b", c`, "empty": "", "none": "", "b": ""} {
		if got := o.ChallengeParameter(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if (Outcome{}).ChallengeParameter("algs") != "" || (Outcome{}).Challenges("DPoP") {
		t.Error("an outcome without an answer has a challenge")
	}
}

func TestSettle(t *testing.T) {
	failed := func(kind FailureKind) *Answer { return &Answer{Failure: &Failure{kind, "detail"}} }
	kept := failed(Dropped)
	kept.TLS = &ExchangeTLS{FreshConnection: false}
	for name, test := range map[string]struct {
		a     *Answer
		state State
		where Where
		says  string
	}{
		"refusal":              {answerOf(400, `{"error":"invalid_grant"}`), Refused, InBody, "HTTP 400 invalid_grant at here"},
		"redirect":             {answerOf(302, ""), Refused, OnPage, "HTTP 302"},
		"too many requests":    {answerOf(429, `{"error":"slow_down"}`), Unknown, "", "limits.requests_per_second"},
		"a busy gateway":       {answerOf(503, "<h1>503</h1>"), Unknown, "", "decides nothing"},
		"a tired gateway":      {answerOf(504, "<h1>504</h1>"), Unknown, "", "decides nothing"},
		"broken":               {answerOf(502, "<html>"), Refused, OnPage, "HTTP 502"},
		"certificate":          {failed(RefusedCertificate), Refused, InTLS, "TLS"},
		"dropped":              {failed(Dropped), Refused, Nowhere, "dropped"},
		"dropped while kept":   {kept, Unknown, "", "kept connection"},
		"host not named":       {failed(NotNamed), Unknown, "", "host not named"},
		"not connected":        {failed(NotConnected), Unknown, "", "no connection"},
		"untrusted":            {failed(UntrustedServer), Unknown, "", "untrusted"},
		"timed out":            {failed(TimedOut), Unknown, "", "timed out"},
		"too large":            {failed(TooLarge), Unknown, "", "too large"},
		"not HTTP":             {failed(NotHTTP), Unknown, "", "not HTTP"},
		"nonce loop":           {failed(NonceLoop), Unknown, "", "nonce loop"},
		"stopped":              {failed(Stopped), Unknown, "", "stopped"},
		"failed with a status": {&Answer{Status: 200, Body: []byte(`{"access_token":"x`), Failure: &Failure{NotHTTP, "ended"}}, Unknown, "", "ended"},
	} {
		t.Run(name, func(t *testing.T) {
			o := settle(test.a, "here")
			if o.State != test.state || o.Where != test.where {
				t.Errorf("settled as %+v", o)
			}
			wantText(t, o.String(), test.says)
		})
	}
}

// What the server tells in its own words may stand in the body or in a challenge, and is cut where it is long.
func TestSaidInItsOwnWords(t *testing.T) {
	challenged := answerOf(401, "")
	challenged.Header.Set("WWW-Authenticate", `Bearer realm="api", DPoP error="invalid_token", error_description="wrong \"aud\""`)
	for _, test := range []struct {
		a    *Answer
		want string
	}{
		{answerOf(400, `{"error":"invalid_grant","error_description":"used before"}`), ` ("used before")`},
		{challenged, ` ("wrong \"aud\"")`},
		{answerOf(400, `{"error":"invalid_grant","error_description":7}`), ""},
		{answerOf(400, "<html>"), ""},
		{answerOf(400, `{"error_description":"`+strings.Repeat("x", 5000)+`"}`), ` ("` + strings.Repeat("x", 200) + `")`},
	} {
		if got := settle(test.a, "here").said(); got != test.want {
			t.Errorf("said %.80q, want %.80q", got, test.want)
		}
	}
	if got := (Outcome{}).said(); got != "" {
		t.Errorf("nobody said %q", got)
	}
}

func TestParams(t *testing.T) {
	p := Params{{"a", "1"}, {"b", "x y"}, {"a", "2"}}
	changed := slices.Clone(p)
	changed.Set("a", "3")
	if got := changed.Encode(); got != "a=3&b=x+y&a=2" || p.Get("a") != "1" || p.Get("c") != "" {
		t.Errorf("after Set: %s; before: %s", got, p.Encode())
	}
	for name, test := range map[string]struct {
		edit func(*Params)
		want string
	}{
		"nothing":     {func(*Params) {}, ""},
		"order":       {func(p *Params) { (*p)[0], (*p)[1] = (*p)[1], (*p)[0] }, ""},
		"value":       {func(p *Params) { p.Set("b", "") }, "b"},
		"added":       {func(p *Params) { p.Add("c", "&=") }, "c"},
		"twice":       {func(p *Params) { p.Add("b", "x y") }, "b"},
		"left out":    {func(p *Params) { p.Drop("a") }, "a"},
		"one of them": {func(p *Params) { p.Drop("a"); p.Add("a", "1") }, "a"},
		"two":         {func(p *Params) { p.Set("a", "9"); p.Drop("b") }, "a b"},
	} {
		sent := slices.Clone(p)
		test.edit(&sent)
		if got := strings.Join(p.differences(sent), " "); got != test.want {
			t.Errorf("%s: differs in %q, want %q", name, got, test.want)
		}
	}
}
