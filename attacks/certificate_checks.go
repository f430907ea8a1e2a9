package attacks

import "github.com/popcheck/popcheck/harness"

// CertificateChecks are the single checks of certificate binding; each has a spec of its own.
type CertificateChecks struct {
	Thumbprint, ThumbprintOfLeaf, ThumbprintOfSent, Introspection, IntrospectionUnbound Check
	RefreshOther, RefreshNone, RefreshOfOther, RefreshSameKey                           Check
	WithoutCertificate, EveryGrant, OtherMethod                                         Check
	Resource, ResourceSelfSigned, BearerOverMutualTLS, Unbound                          Check
	BothOtherCertificate, BothOtherKey, BothNoCertificate, BothNoProof, OneConnection   Check
	Resumed, ResumedElsewhere                                                           Check
	BoundResumed, ResourceResumed                                                       Check
}

func (c CertificateChecks) all() []Check {
	return []Check{c.Thumbprint, c.ThumbprintOfLeaf, c.ThumbprintOfSent, c.Introspection, c.IntrospectionUnbound, c.RefreshOther, c.RefreshNone, c.RefreshOfOther, c.RefreshSameKey,
		c.WithoutCertificate, c.EveryGrant, c.OtherMethod, c.Resource, c.ResourceSelfSigned, c.BearerOverMutualTLS, c.Unbound, c.BothOtherCertificate, c.BothOtherKey, c.BothNoCertificate, c.BothNoProof, c.OneConnection,
		c.Resumed, c.ResumedElsewhere, c.BoundResumed, c.ResourceResumed}
}

// CertificateBindings returns the single checks of certificate binding.
func CertificateBindings() CertificateChecks {
	check := func(id, title string, clause harness.Clause, level harness.Level, severity harness.Severity, threat harness.Threat, refusal harness.Refusal, needs, covers, why, fix string) Check {
		return Check{ID: id, Title: title, Clause: clause, Level: level, Severity: severity, Threat: threat, Refusal: refusal, Needs: needs, Covers: covers, Why: why, Fix: fix}
	}
	none := harness.Refusal{}
	refused := harness.Refusal{Status: []int{400, 401}, Errors: []string{"invalid_grant", "invalid_client", "invalid_request"}, Where: []harness.Where{harness.InBody, harness.InTLS}}
	bothWays := harness.Refusal{Status: []int{401}, Errors: []string{"invalid_token", "invalid_dpop_proof"}, Where: []harness.Where{harness.InWWWAuthenticate, harness.InTLS}}
	const stolenRefresh = "a stolen refresh token works for the thief"
	return CertificateChecks{
		Thumbprint: check("mtls-cnf", "puts the hash of the client's certificate into the token", rfc8705("3.1"), harness.Must, harness.Critical, harness.WrongCertificate, none, "jwt-at", "MTLS-AS-12.1 MTLS-AS-12.2",
			"a resource cannot check the binding, or checks another certificate", "cnf.x5t#S256 is the base64url SHA-256 of the certificate's DER without padding"),
		ThumbprintOfLeaf: check("mtls-cnf-of-certificate", "hashes the certificate, not its key or its issuer", rfc8705("3.1"), harness.Must, harness.Critical, harness.WrongCertificate, none, "jwt-at", "MTLS-AS-12.3",
			"tokens are bound to something that other certificates share", "hash the DER of the leaf certificate"),
		ThumbprintOfSent: check("mtls-cnf-of-leaf", "hashes the first certificate of those that the client sends", rfc8705("3.1"), harness.Must, harness.High, harness.WrongCertificate, none, "jwt-at mtls-pki trusted-ca", "MTLS-AS-12.4",
			"tokens are bound to the CA of the client, and work with every certificate that brings it along", "hash the certificate whose key the connection proved"),
		IntrospectionUnbound: check("mtls-introspection-unbound", "tells resources of no certificate where a token is bound to none", rfc8705("3.2"), harness.Should, harness.Medium, harness.Interoperability, none, "introspection bearer", "MTLS-AS-13.2",
			"a resource refuses every unbound token, or learns to look past cnf", "return cnf for bound tokens only"),
		Introspection: check("mtls-introspection-cnf", "tells resources the bound certificate by introspection", rfc8705("3.2"), harness.Must, harness.Critical, harness.WrongCertificate, none, "introspection", "MTLS-AS-13.1",
			"a resource that introspects cannot check the binding", "return cnf with x5t#S256 at top level"),
		RefreshOther: check("mtls-refresh-other-certificate", "refuses a public client's refresh token with another certificate", rfc8705("4"), harness.Must, harness.High, harness.TokenReplay, refused, "refresh public-client", "MTLS-AS-14.1", stolenRefresh, "bind refresh tokens of public clients to the certificate, or rotate them"),
		RefreshNone:  check("mtls-refresh-no-certificate", "refuses a public client's refresh token without a certificate", rfc8705("4"), harness.Must, harness.High, harness.TokenReplay, refused, "refresh public-client", "MTLS-AS-14.2", stolenRefresh, "bind refresh tokens of public clients to the certificate, or rotate them"),
		RefreshOfOther: check("mtls-refresh-certificate-of-other-client", "refuses a refresh with the certificate of another client", rfc6749("6"), harness.Must, harness.Critical, harness.TokenReplay, refused, "refresh second-client", "MTLS-AS-15.1",
			stolenRefresh, "authenticate the client when it refreshes"),
		RefreshSameKey: check("mtls-refresh-same-key", "answers a public client's refresh with a renewed certificate over the same key", rfc8705("4"), harness.Hardening, harness.Info, harness.Interoperability, none, "refresh public-client", "MTLS-AS-14.3",
			"every renewal of a certificate ends all grants of its client, or the key decides alone", "decide it, and say so: both are right"),
		WithoutCertificate: check("mtls-bound-token-without-certificate", "gives no unbound token to a client that asked for bound ones", rfc8705("3.4"), harness.Hardening, harness.Medium, harness.Downgrade, harness.Refusal{Status: []int{400, 401}, Errors: []string{"invalid_request", "invalid_client", "invalid_grant"}, Where: []harness.Where{harness.InBody, harness.InTLS}}, "", "MTLS-AS-16.1",
			"the client's tokens are bearer tokens when it forgets the certificate, or when an attacker has its secret", "refuse the request; the RFC leaves it to the server"),
		EveryGrant: check("mtls-client-credentials-bound", "binds tokens of the grants without a user too", rfc8705("3"), harness.Must, harness.High, harness.TokenReplay, none, "", "MTLS-AS-16.3 MTLS-AS-16.4",
			"tokens of this grant are bearer tokens", "bind whenever a certificate was used"),
		OtherMethod: check("mtls-bound-beside-other-method", "binds tokens of a client that authenticates in another way too", rfc8705("3"), harness.Must, harness.High, harness.TokenReplay, none, "", "MTLS-AS-16.2",
			"tokens of this client are bearer tokens, though it asked for bound ones and presented its certificate", "bind whenever a certificate was presented, however the client is authenticated"),
		Unbound: check("mtls-unbound-token", "answers an unbound token on a connection with a certificate", rfc8705("3"), harness.Hardening, harness.Info, harness.Downgrade, none, "bearer", "MTLS-RS-06.1",
			"whether the resource demands bound tokens is a matter of its policy", "where all clients have certificates, refuse unbound tokens"),
		BothOtherCertificate: check("mtls-both-bindings-other-certificate", "refuses a token that is bound twice with its proof and another certificate", rfc8705("3"), harness.Must, harness.High, harness.WrongCertificate, bothWays, "dpop", "MTLS-RS-05.3",
			"one of two bindings means nothing: whoever has the key needs no certificate", "demand each binding that the token names"),
		BothOtherKey: check("mtls-both-bindings-other-key", "refuses a token that is bound twice with its certificate and another key", rfc9449("7.1", ""), harness.Must, harness.High, harness.TokenReplay, bothWays, "dpop", "MTLS-RS-05.3",
			"one of two bindings means nothing: whoever has the certificate needs no key", "demand each binding that the token names"),
		BothNoCertificate: check("mtls-both-bindings-no-certificate", "refuses a token that is bound twice with its proof and no certificate", rfc8705("3"), harness.Must, harness.High, harness.Downgrade, bothWays, "dpop", "",
			"one of two bindings means nothing: whoever has the key needs no certificate", "demand each binding that the token names"),
		BothNoProof: check("mtls-both-bindings-no-proof", "refuses a token that is bound twice with its certificate and no proof", rfc9449("7.1", ""), harness.Must, harness.High, harness.Downgrade, bothWays, "dpop", "",
			"one of two bindings means nothing: whoever has the certificate needs no key", "demand each binding that the token names"),
		OneConnection: check("mtls-bound-one-connection", "refuses another certificate's token after an honest request on the same connection", rfc8705("3"), harness.Must, harness.Critical, harness.WrongCertificate, invalidToken(), "second-client", "MTLS-RS-03.7",
			"any client of the server can use the stolen tokens of all, after one request with its own", "compare the certificate with the token of each request"),
		Resource: check("mtls-resource", "opens for a bound token with its certificate", rfc8705("3"), harness.Must, harness.High, harness.Interoperability, none, "", "MTLS-RS-01.1 MTLS-RS-01.4", "honest clients are refused", "compare the certificate of the connection with cnf.x5t#S256"),
		ResourceSelfSigned: check("mtls-resource-self-signed", "opens for a token bound to a self-signed certificate", rfc8705("6.2"), harness.Should, harness.Medium, harness.Interoperability, none, "mtls-self-signed", "MTLS-RS-01.2",
			"honest clients are refused", "compare the hash; the chain need not be validated at a resource"),
		Resumed: check("mtls-resumed-session", "refuses a client on a resumed TLS session that began without its certificate", rfc8705("2"), harness.Must, harness.Critical, harness.ClientImpersonation, invalidClient(), "", "",
			"anyone can act in the name of the client by resuming a TLS session of his own", "keep the certificate with the session, and look at it in every request"),
		ResumedElsewhere: check("mtls-resumed-elsewhere", "refuses a client on a TLS session that began at another address", rfc8705("2"), harness.Must, harness.Critical, harness.ClientImpersonation, invalidClient(), "", "",
			"a session that began where no certificate is asked for, or any is taken, passes where one is validated (CVE-2025-23419)", "share no session tickets between servers with other rules for client certificates"),
		BoundResumed: check("mtls-bound-resumed", "refuses a bound token on a resumed TLS session that began without its certificate", rfc8705("3"), harness.Must, harness.Critical, harness.TokenReplay, invalidToken(), "", "",
			"a stolen token works for the thief, who resumes a TLS session of his own", "compare the certificate of the session with cnf.x5t#S256 in every request"),
		ResourceResumed: check("mtls-resource-resumed", "opens for a bound token on a resumed TLS session too", rfc8705("3"), harness.Should, harness.Low, harness.Interoperability, harness.Refusal{}, "", "MTLS-RS-01.3",
			"honest clients are refused from their second connection on", "keep the certificate with the session"),
		BearerOverMutualTLS: check("mtls-dpop-token-as-bearer", "refuses a DPoP-bound token as a bearer token over mutual TLS", rfc8705("3"), harness.Must, harness.Critical, harness.Downgrade, harness.Refusal{Status: []int{400, 401}, Errors: []string{"invalid_token", "invalid_request"}, Where: []harness.Where{harness.InWWWAuthenticate, harness.InTLS}}, "dpop", "MTLS-RS-05.1 DPOP-RS-17.6",
			"a stolen token works without the key", "demand each binding that the token names"),
	}
}

// SpeakerChecks are about whom a certificate speaks for, beside what the request says; each has a spec of its own.
type SpeakerChecks struct {
	PublicID, CodeOfOther, TwoIDs, NoID Check
	InsteadOfAssertion, AddressText     Check
	AliasAddresses, AliasHTU            Check
}

func (s SpeakerChecks) all() []Check {
	return []Check{s.PublicID, s.CodeOfOther, s.TwoIDs, s.NoID, s.InsteadOfAssertion, s.AddressText, s.AliasAddresses, s.AliasHTU}
}

// Speakers returns the single checks of client authentication by certificates.
func Speakers() SpeakerChecks {
	row := func(id, title string, clause harness.Clause, level harness.Level, severity harness.Severity, threat harness.Threat, needs, covers, why, fix string) Check {
		c := graded(level, severity, certificateRow(id, title, clause, threat, invalidClient("invalid_grant", "invalid_request", "unauthorized_client"), needs, covers, why, fix))
		if threat == harness.Interoperability {
			c.Refusal = harness.Refusal{}
		}
		return c
	}
	other := harness.ClientImpersonation
	const named = "look for the client of client_id, and compare the certificate with the registration of that client"
	return SpeakerChecks{
		PublicID: row("mtls-public-client-id", "does not take a certificate under the client_id of a public client", rfc8705("2"), harness.Should, harness.Medium, other, "public-client", "MTLS-AS-10.2",
			"the client that acts is not the one that the request names: logs, consents and limits are those of another", named),
		CodeOfOther: row("mtls-code-of-other-client", "refuses the code of one client with the certificate of another", rfc6749("4.1.3"), harness.Must, harness.Critical, other, "code second-client", "MTLS-AS-10.3",
			"any client of the server can use codes that were meant for another one", "compare the authenticated client with the one of the code"),
		TwoIDs: row("mtls-two-client-ids", "refuses one client's certificate and another client's code under both client_ids", rfc6749("3.2"), harness.Must, harness.Critical, other, "code second-client", "MTLS-AS-10.4",
			"one part of the server authenticates the attacker, and another one serves the victim", "refuse parameters that come twice, and look at client_id once"),
		NoID: row("mtls-no-client-id", "serves the client of the certificate, or none, where no client_id is sent", rfc8705("2"), harness.Must, harness.High, other, "", "MTLS-AS-10.5",
			"the server guesses which client is meant, and guesses another one", "refuse the request, or find the client by the whole name that is registered"),
		InsteadOfAssertion: row("mtls-certificate-instead-of-assertion", "refuses a certificate instead of a client assertion", rfc7591("2"), harness.Must, harness.Critical, other, "private-key-jwt", "MTLS-AS-11.5",
			"whoever has a certificate acts in the name of a client that never registered one", "accept only the method that the client registered"),
		AddressText: row("mtls-san-ip-text", "knows a registered IPv6 address in every text form", rfc8705("2.1.2"), harness.Hardening, harness.Low, harness.Interoperability, "", "MTLS-AS-05.3",
			"the client is locked out because its address was written otherwise", "compare binary addresses (RFC 8705 §2.1.2)"),
		AliasAddresses: row("mtls-alias-addresses", "names addresses that answer over TLS as its mutual-TLS aliases", rfc8705("5"), harness.Should, harness.Low, harness.Interoperability, "mtls-aliases", "MTLS-AS-18.3",
			"a client that goes where the metadata sends it cannot show its certificate", "name https URLs that are served and ask for certificates"),
		AliasHTU: row("mtls-alias-htu", "takes a proof that names the mutual-TLS alias that it is sent to", rfc9449("4.3", "9"), harness.Hardening, harness.Low, harness.Interoperability, "mtls-aliases dpop", "MTLS-AS-18.4",
			"clients of mutual TLS that use DPoP are refused", "compare htu with the address at which the request arrived"),
	}
}
