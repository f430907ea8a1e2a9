package reports

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/popcheck/popcheck/harness"
)

// sampleRow is a check of the sample, with the places where it runs.
type sampleRow struct {
	id, title, suite, endpoints string
	mechanism                   harness.Mechanism
	level                       harness.Level
	severity                    harness.Severity
	threat                      harness.Threat
	spec, section, item         string
	covers                      string
	changed                     string // "DPoP.htu", "code_verifier", "certificate"
	why, fix, expected          string
}

func sampleRows() []sampleRow {
	pkce := func(id, title, covers, changed string, s harness.Severity, t harness.Threat, section string) sampleRow {
		return sampleRow{id: id, title: title, suite: "pkce", mechanism: harness.PKCE, endpoints: "token/authorization_code/spa token/authorization_code/web token/authorization_code/bank",
			level: harness.Must, severity: s, threat: t, spec: "RFC 7636", section: section, covers: covers, changed: changed,
			why:      "Whoever reads a code from a log, a referrer or another app on the phone can turn it into tokens.",
			fix:      "Compare BASE64URL(SHA-256(code_verifier)) with the challenge stored with the code, and refuse the request when they differ.",
			expected: "400 with error invalid_grant, and no token"}
	}
	dpop := func(id, title, covers, changed string, s harness.Severity, t harness.Threat, section, item string) sampleRow {
		return sampleRow{id: id, title: title, suite: "dpop", mechanism: harness.DPoP,
			endpoints: "token/authorization_code/spa token/refresh_token/spa token/client_credentials/worker par//web resource//spa userinfo//spa",
			level:     harness.Must, severity: s, threat: t, spec: "RFC 9449", section: section, item: item, covers: covers, changed: changed,
			why:      "A proof that was made for another server, or lies in a log, opens this one: the binding of the token protects nothing.",
			fix:      "Compare the claim with the request that the proof came with, and answer invalid_dpop_proof when they differ.",
			expected: "400 (401 at a resource) with error invalid_dpop_proof, and no token"}
	}
	mtls := func(id, title, covers, changed string, s harness.Severity, t harness.Threat, section string) sampleRow {
		return sampleRow{id: id, title: title, suite: "mtls", mechanism: harness.MTLS, endpoints: "token/client_credentials/bank resource//bank",
			level: harness.Must, severity: s, threat: t, spec: "RFC 8705", section: section, covers: covers, changed: changed,
			why:      "Anybody with any certificate can use a token that was bound to the client's.",
			fix:      "Compare the SHA-256 of the certificate of this connection with cnf.x5t#S256.",
			expected: "401 with error invalid_token"}
	}
	rows := []sampleRow{
		pkce("pkce-s256", "takes a flow with S256", "PKCE-AS-01.1", "", harness.High, harness.Interoperability, "4.2"),
		pkce("pkce-wrong-verifier", "refuses a verifier of the right form that is not the one of the challenge", "PKCE-AS-02.1", "code_verifier", harness.Critical, harness.CodeInterception, "4.6"),
		pkce("pkce-no-verifier", "refuses a token request without the verifier", "PKCE-AS-03.1", "code_verifier", harness.Critical, harness.CodeInterception, "4.6"),
		pkce("pkce-foreign-verifier", "refuses the verifier of another code of the same client", "PKCE-AS-06.1", "code_verifier", harness.Critical, harness.CodeInjection, "4.4"),
		pkce("pkce-plain", "refuses the method plain", "PKCE-AS-08.1", "code_challenge_method", harness.Medium, harness.Downgrade, "7.2"),
		pkce("pkce-code-twice", "refuses a code used twice", "CODE-AS-01.1", "code", harness.High, harness.TokenReplay, "4.6"),
		pkce("pkce-code-other-client", "refuses a code redeemed by another client", "CODE-AS-04.1", "client_id", harness.Critical, harness.ClientImpersonation, "4.6"),
		pkce("pkce-code-lifetime", "lets a code live for a short time", "CODE-AS-06.1", "", harness.Medium, harness.TokenReplay, "4.6"),
		pkce("front-fragment", "keeps access tokens out of the front channel", "CODE-AS-14.1", "response_type", harness.Medium, harness.Leakage, "4.6"),
		dpop("dpop-bound", "binds a token to the key of the proof", "DPOP-AS-01.1 DPOP-RS-01.1", "", harness.High, harness.Interoperability, "5", ""),
		dpop("dpop-htu-host", "refuses a proof made for another host", "DPOP-AS-12.1 DPOP-RS-11.1", "DPoP.htu", harness.Critical, harness.ProofReplay, "4.3", "9"),
		dpop("dpop-htm", "refuses a proof made for another method", "DPOP-AS-11.1 DPOP-RS-10.1", "DPoP.htm", harness.High, harness.ProofReplay, "4.3", "8"),
		dpop("dpop-ath", "refuses a proof for another access token", "DPOP-RS-15.1", "DPoP.ath", harness.Critical, harness.TokenReplay, "4.3", "11"),
		dpop("dpop-signature", "refuses a proof whose signature was made with another key", "DPOP-AS-09.1 DPOP-RS-08.1", "DPoP.signature", harness.Critical, harness.ProofReplay, "4.3", "7"),
		dpop("dpop-alg-none", "refuses a proof without a signature", "DPOP-AS-08.1 DPOP-RS-07.1", "DPoP.alg", harness.Critical, harness.ProofReplay, "4.3", "5"),
		dpop("dpop-jwk-private", "refuses a proof that gives its private key away", "DPOP-AS-10.1 DPOP-RS-09.1", "DPoP.jwk", harness.High, harness.ProofReplay, "4.3", "6"),
		dpop("dpop-other-key", "refuses a bound token with a proof of another key", "DPOP-RS-16.1", "DPoP.jwk", harness.Critical, harness.TokenReplay, "7.1", ""),
		dpop("dpop-no-proof", "refuses a bound token without a proof", "DPOP-RS-02.1", "DPoP", harness.Critical, harness.TokenReplay, "7.1", ""),
		dpop("dpop-as-bearer", "refuses a bound token as a bearer token", "DPOP-RS-17.1", "Authorization", harness.Critical, harness.Downgrade, "7.2", ""),
		dpop("dpop-iat-window", "takes proofs for a limited time", "DPOP-AS-14.2 DPOP-RS-13.2", "DPoP.iat", harness.High, harness.ProofReplay, "11.1", ""),
		dpop("dpop-replay", "refuses the same proof again inside its window", "DPOP-AS-15.1 DPOP-RS-14.1", "DPoP.jti", harness.Medium, harness.ProofReplay, "11.1", ""),
		mtls("mtls-no-certificate", "refuses a token request without a certificate", "MTLS-AS-01.1", "certificate", harness.Critical, harness.ClientImpersonation, "2"),
		mtls("mtls-chain", "refuses a certificate of a CA that the server does not trust", "MTLS-AS-07.1", "certificate", harness.Critical, harness.ClientImpersonation, "2.1"),
		mtls("mtls-self-signed", "refuses a self-signed certificate that is not registered", "MTLS-AS-09.1", "certificate", harness.Critical, harness.WrongCertificate, "2.2"),
		mtls("mtls-other-client", "refuses the certificate of another client", "MTLS-AS-10.1", "certificate", harness.Critical, harness.ClientImpersonation, "2"),
		mtls("mtls-bound-none", "refuses a bound token without a certificate", "MTLS-RS-02.1", "certificate", harness.Critical, harness.TokenReplay, "3"),
		mtls("mtls-bound-other", "refuses a bound token with another certificate", "MTLS-RS-03.1", "certificate", harness.Critical, harness.WrongCertificate, "3"),
		mtls("mtls-header", "refuses a certificate in a header instead of the handshake", "MTLS-AS-17.1 MTLS-RS-04.1", "X-Client-Cert", harness.Critical, harness.Downgrade, "3"),
		mtls("mtls-aliases", "refuses the endpoints beside the aliases", "MTLS-AS-18.1", "url", harness.Medium, harness.Downgrade, "5"),
	}
	for i := range rows {
		if rows[i].id == "dpop-replay" {
			rows[i].level = harness.Hardening
		}
	}
	return rows
}

// cleanRun is a run in which everything that ran held.
func cleanRun() *harness.Run {
	started := time.Date(2026, 11, 22, 9, 41, 7, 250e6, time.UTC)
	run := &harness.Run{
		Schema: harness.RunSchema, Popcheck: "1.0.0", Catalogue: "2026.11",
		Target:  harness.RunTarget{Name: "staging", Issuer: "https://as.example.com", Product: "ExampleAuth", Version: "26.4.1", Recipe: "two nodes behind nginx", File: "staging.yaml"},
		Profile: "bcp", ProfileText: "RFC 9700 (January 2025)", FailOn: harness.Must, Seed: 7405913, Started: started, Finished: started.Add(48*time.Second + 120*time.Millisecond), Complete: true,
		Capabilities: map[string]harness.Capability{
			"pkce": {Value: "yes", How: "discovered: code_challenge_methods_supported lists S256"}, "dpop": {Value: "yes", How: "discovered: dpop_signing_alg_values_supported lists ES256, RS256"},
			"mtls": {Value: "yes", How: "observed: the token endpoint asked for a certificate"}, "par": {Value: "no", How: "discovered: the metadata names no pushed_authorization_request_endpoint"},
			"introspection": {Value: "yes", How: "declared: introspection_client web"}, "nonce": {Value: "no", How: "observed: no answer carried DPoP-Nonce"},
		},
	}
	for _, row := range sampleRows() {
		for _, place := range strings.Fields(row.endpoints) {
			run.Results = append(run.Results, sampleResult(row, place))
		}
	}
	summarise(run)
	return run
}

func summarise(run *harness.Run) {
	run.Summary = map[harness.Verdict]int{}
	for _, v := range harness.Verdicts() {
		run.Summary[v] = 0
	}
	for _, r := range run.Results {
		run.Summary[r.Verdict]++
	}
}

func sampleResult(row sampleRow, where string) harness.Result {
	parts := strings.Split(where, "/")
	r := harness.Result{
		ID: row.id, Title: row.title, Suite: row.suite, Mechanism: row.mechanism, Endpoint: parts[0], Grant: parts[1], Client: parts[2],
		Role: harness.AuthorizationServer, Verdict: harness.Pass, Level: row.level, Severity: row.severity, Threat: row.threat,
		Clause: harness.Clause{Spec: row.spec, Section: row.section, Item: row.item}, Why: row.why, Fix: row.fix, Expected: row.expected,
		Reason: "refused with 400 invalid_grant between two accepted controls", Source: harness.Source{File: "attacks/" + row.suite + ".go", Line: 40 + 7*len(row.id)},
		Duration: int64(37 * len(where)),
	}
	r.Key = r.ID + "@" + strings.ReplaceAll(where, "//", "/")
	if r.Endpoint == "resource" || r.Endpoint == "userinfo" {
		r.Role = harness.ResourceServer
		r.Reason = "refused with 401 between two accepted controls"
	}
	for _, id := range strings.Fields(row.covers) {
		if strings.Contains(id, "-"+string(r.Role)+"-") || row.suite == "pkce" {
			r.Covers = append(r.Covers, id)
		}
	}
	switch {
	case row.id == "dpop-iat-window":
		r.Measured = "iat accepted, back: 60 s; iat accepted, ahead: 5 s"
		r.Values = []harness.Value{{Name: "iat accepted, back", Value: "60 s", How: "by bisection"}, {Name: "iat accepted, ahead", Value: "5 s", How: "by bisection"}}
	case row.id == "pkce-code-lifetime":
		r.Measured = "lifetime of a code: 60 s"
		r.Values = []harness.Value{{Name: "lifetime of a code", Value: "60 s", Stated: "expires_in 60", How: "codes of one time, each redeemed at another age"}}
	}
	if r.Endpoint == "par" || len(r.Covers) == 0 {
		r.Verdict = harness.Skip
		r.Reason = "no pushed authorization requests (discovered: the metadata names no pushed_authorization_request_endpoint)"
		if r.Endpoint != "par" {
			r.Reason = "the check does not apply at this endpoint"
		}
		return r
	}
	r.Exchanges = sampleExchanges(r, row.changed)
	return r
}

// sampleExchanges are two honest calls and the attack between them, two exchanges each.
func sampleExchanges(r harness.Result, changed string) []harness.Exchange {
	var out []harness.Exchange
	for i, role := range []harness.ExchangeRole{harness.ControlExchange, harness.AttackExchange, harness.ControlExchange} {
		if r.Role == harness.AuthorizationServer && r.Grant == "authorization_code" {
			out = append(out, harness.Exchange{Role: role, Step: "authorization request", OffsetMS: int64(i * 90), TookMS: 21,
				Request:  harness.ExchangeRequest{Method: "GET", URL: "https://as.example.com/authorize?response_type=code&client_id=" + r.Client + "&redirect_uri=https%3A%2F%2Fclient.example%2Fcb&scope=openid+read&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256&state=⟨state#" + fmt.Sprint(i) + "⟩"},
				Response: harness.ExchangeResponse{Status: 302, Headers: []harness.Field{{Name: "Location", Value: "https://client.example/cb?code=⟨code#" + fmt.Sprint(i) + "⟩&iss=https%3A%2F%2Fas.example.com"}}},
				TLS:      sampleTLS("")})
		}
		out = append(out, sampleCall(r, role, i, changed))
	}
	return out
}

func sampleTLS(certificate string) *harness.ExchangeTLS {
	t := &harness.ExchangeTLS{Version: "TLS 1.3", FreshConnection: certificate != "", CertificateRequested: certificate != ""}
	if certificate != "" && certificate != "none" {
		t.CertificatePresented, t.Thumbprint = certificate, "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"
	}
	return t
}

func sampleCall(r harness.Result, role harness.ExchangeRole, i int, changed string) harness.Exchange {
	attack := role == harness.AttackExchange
	x := harness.Exchange{Role: role, Step: "token request", OffsetMS: int64(30 + i*90), TookMS: int64(14 + i), TLS: sampleTLS("")}
	x.Request = harness.ExchangeRequest{Method: "POST", URL: "https://as.example.com/token", Headers: []harness.Field{
		{Name: "User-Agent", Value: "popcheck/1.0.0 (" + r.ID + "; run 5f0c)"}, {Name: "Content-Type", Value: "application/x-www-form-urlencoded"}},
		Body: "grant_type=" + r.Grant + "&code=⟨code#" + fmt.Sprint(i) + " hmac:7ad1⟩&redirect_uri=https%3A%2F%2Fclient.example%2Fcb&client_id=" + r.Client + "&code_verifier=⟨verifier#" + fmt.Sprint(i) + " hmac:91c0⟩"}
	x.Response = harness.ExchangeResponse{Status: 200, Headers: []harness.Field{{Name: "Content-Type", Value: "application/json"}, {Name: "Cache-Control", Value: "no-store"}},
		Body: `{"access_token":"⟨access_token#` + fmt.Sprint(i) + ` hmac:1f3a⟩","token_type":"DPoP","expires_in":300}`}
	if r.Role == harness.ResourceServer {
		x.Step, x.Request = "resource", harness.ExchangeRequest{Method: "GET", URL: "https://api.example.com/accounts", Headers: []harness.Field{
			{Name: "Authorization", Value: "DPoP ⟨access_token#1 hmac:1f3a⟩"}, {Name: "User-Agent", Value: "popcheck/1.0.0 (" + r.ID + "; run 5f0c)"}}}
		x.Response.Body = `{"accounts":[{"id":"1","balance":"12.50"}]}`
	}
	if r.Mechanism == harness.DPoP {
		x.Request.Headers = append(x.Request.Headers, harness.Field{Name: "DPoP", Value: "⟨proof#" + fmt.Sprint(i) + " hmac:c2d4⟩"})
		x.Request.Decoded = []harness.Decoded{sampleProof(x.Request.Method, x.Request.URL, i)}
	}
	if r.Mechanism == harness.MTLS {
		x.TLS = sampleTLS("bank")
	}
	if attack && changed != "" {
		x.Request.Changed = []string{changed}
		refuse(&x, r)
		change(&x, changed)
	}
	return x
}

func refuse(x *harness.Exchange, r harness.Result) {
	x.Response.Status, x.Response.Body = 400, `{"error":"invalid_grant","error_description":"the verifier does not match the challenge"}`
	if r.Role == harness.ResourceServer {
		x.Response.Status, x.Response.Body = 401, ""
		x.Response.Headers = append(x.Response.Headers, harness.Field{Name: "WWW-Authenticate", Value: `DPoP error="invalid_dpop_proof", algs="ES256 RS256"`})
	}
}

func change(x *harness.Exchange, changed string) {
	if changed == "certificate" {
		x.TLS = sampleTLS("other client")
		x.TLS.Thumbprint = "A1b2C3d4esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdNx"
		return
	}
	name := strings.TrimPrefix(changed, "DPoP.")
	for d := range x.Request.Decoded {
		for _, list := range [][]harness.Member{x.Request.Decoded[d].Header, x.Request.Decoded[d].Claims} {
			for i := range list {
				if list[i].Name == name {
					list[i].Was, list[i].Change = list[i].Value, "changed"
					list[i].Value = `"https://evil.example/token"`
				}
			}
		}
	}
}

func sampleProof(method, url string, i int) harness.Decoded {
	return harness.Decoded{Name: "DPoP proof", Header: []harness.Member{
		{Name: "typ", Value: `"dpop+jwt"`}, {Name: "alg", Value: `"ES256"`},
		{Name: "jwk", Value: `{"crv":"P-256","kty":"EC","x":"l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs","y":"9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA"}`}},
		Claims: []harness.Member{{Name: "jti", Value: `"⟨jti#` + fmt.Sprint(i) + `⟩"`}, {Name: "htm", Value: `"` + method + `"`}, {Name: "htu", Value: `"` + url + `"`}, {Name: "iat", Value: "1795340467"}}}
}

// sampleRun has every verdict, every kind of finding, and evidence of every form.
func sampleRun() *harness.Run {
	run := cleanRun()
	run.Problems = []string{"client bank: its certificate expires in 9 days", "userinfo answers over HTTP/1.0 at times"}
	for i := range run.Results {
		r := &run.Results[i]
		if r.Verdict == harness.Skip {
			continue
		}
		switch {
		case r.ID == "dpop-htu-host" && r.Endpoint != "userinfo":
			broke(r, "a token was issued, and it opened the resource: the host in htu is not compared")
		case r.ID == "pkce-no-verifier" && r.Client == "web":
			broke(r, "a token was issued without the verifier, for the confidential client")
		case r.ID == "pkce-code-lifetime" && r.Client == "spa":
			broke(r, "the code was still good after 11 minutes")
			r.Level, r.Measured, r.Values = harness.Should, "more than 660 s", nil
		case r.ID == "dpop-replay":
			broke(r, "the same proof was accepted twice inside its window")
		case r.ID == "pkce-plain" && r.Client == "web":
			broke(r, "plain was accepted, and the challenge itself redeemed the code")
			r.Waiver = &harness.RunWaiver{Reason: "the kiosk client is replaced in spring (SEC-1482)", Until: "2027-03-31"}
		case r.ID == "mtls-bound-other":
			r.Verdict, r.Reason = harness.Inconclusive, "the honest call after the attack was refused: 503 from the resource; nothing can be concluded"
			r.Exchanges[2].Response = harness.ExchangeResponse{Status: 503, Headers: []harness.Field{{Name: "Retry-After", Value: "30"}}, Body: "upstream connect error", Truncated: true}
		case r.ID == "mtls-chain":
			r.Verdict, r.Reason = harness.Inconclusive, "the target broke: 4 answers of 500 in a row, stopped"
			r.Exchanges[1].Response = harness.ExchangeResponse{Error: "read tcp 127.0.0.1:51234->127.0.0.1:8443: read: connection reset by peer"}
		case r.ID == "dpop-ath" || r.ID == "pkce-foreign-verifier" && r.Client == "spa":
			r.Verdict, r.Reason = harness.Warn, "refused with 500; the clause asks for 401 invalid_dpop_proof"
		}
	}
	summarise(run)
	return run
}

func broke(r *harness.Result, reason string) {
	r.Verdict, r.Reason = harness.Fail, reason
	for i := range r.Exchanges {
		if r.Exchanges[i].Role == harness.AttackExchange && r.Exchanges[i].Response.Status >= 400 {
			r.Exchanges[i].Response = harness.ExchangeResponse{Status: 200, Headers: []harness.Field{{Name: "Content-Type", Value: "application/json"}},
				Body:    `{"access_token":"⟨access_token#9 hmac:77ab⟩","token_type":"DPoP","expires_in":300}`,
				Decoded: []harness.Decoded{{Name: "access_token", Header: []harness.Member{{Name: "alg", Value: `"RS256"`}}, Claims: []harness.Member{{Name: "sub", Value: `"alice"`}, {Name: "cnf", Value: `{"jkt":"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}`}}}}}
		}
	}
}

// embeddedRun is the reference target with a fault.
func embeddedRun() *harness.Run {
	run := sampleRun()
	run.Target = harness.RunTarget{Name: "embedded", Issuer: "https://127.0.0.1:39121", Product: "popcheck reference target", Version: "1.0.0", File: "embedded", Fault: "dpop-htu-host-ignored"}
	return run
}

// only returns the run with the results that the function keeps.
func only(run *harness.Run, keep func(harness.Result) bool) *harness.Run {
	run.Results = slices.DeleteFunc(run.Results, func(r harness.Result) bool { return !keep(r) })
	summarise(run)
	return run
}
