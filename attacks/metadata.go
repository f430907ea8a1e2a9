package attacks

import "github.com/popcheck/popcheck/harness"

// MetadataAttack is a header field of a request that steers the addresses in the metadata of a server that builds them from it.
type MetadataAttack struct {
	Check
	Field harness.Field
}

// attackerHost is in no document unless a request brings it there. Nothing is ever sent to it.
const attackerHost = "attacker.example"

// MetadataHeaders are the header fields that must not steer the metadata (RFC 9700 §4.13).
func MetadataHeaders() []MetadataAttack {
	row := func(id, field, value, covers string, level harness.Level, severity harness.Severity) MetadataAttack {
		return MetadataAttack{Check: Check{ID: id, Title: "does not build its metadata from " + field, Clause: rfc9700("4.13"), Level: level, Severity: severity,
			Threat: harness.ClientImpersonation, Covers: covers, Needs: "as-metadata",
			Why: "clients that get such a document, from a cache or through a proxy, send codes and credentials to the attacker",
			Fix: "write the issuer into the configuration, and let the proxy remove these fields from what comes from outside"},
			Field: harness.Field{Name: field, Value: value}}
	}
	// The attacker has to bring the field into someone else's request: no token is won by the field alone, so none is must. The
	// scheme, and a Host that the TLS name contradicts, win even less.
	return []MetadataAttack{
		row("metadata-forwarded-host", "X-Forwarded-Host", attackerHost, "META-AS-03.1 META-AS-03.6", harness.Should, harness.High),
		row("metadata-forwarded", "Forwarded", "host="+attackerHost, "META-AS-03.2 META-AS-03.6", harness.Should, harness.High),
		row("metadata-host", "Host", attackerHost, "META-AS-03.3", harness.Hardening, harness.Medium),
		row("metadata-forwarded-proto", "X-Forwarded-Proto", "http", "META-AS-03.4", harness.Hardening, harness.Low),
		row("metadata-forwarded-prefix", "X-Forwarded-Prefix", "/"+attackerHost, "META-AS-03.5", harness.Hardening, harness.Medium),
	}
}

// MetadataChecks are the single checks of what a server says of itself; each has a spec of its own, in the suite of what it is about.
type MetadataChecks struct {
	Location, Issuer, Keys, PKCEMethods, PKCEPlain, AuthAlgorithms, Iss, PAR Check // general, and PKCE
	DPoPAlgorithms, DPoPSymmetric, DPoPWork                                  Check
	CertificateBound                                                         Check
}

func (m MetadataChecks) pkce() []Check {
	return []Check{m.Location, m.Issuer, m.Keys, m.PKCEMethods, m.PKCEPlain, m.AuthAlgorithms, m.Iss, m.PAR}
}
func (m MetadataChecks) dpop() []Check { return []Check{m.DPoPAlgorithms, m.DPoPSymmetric, m.DPoPWork} }
func (m MetadataChecks) mtls() []Check { return []Check{m.CertificateBound} }

// ServerMetadata returns the single checks of metadata.
func ServerMetadata() MetadataChecks {
	row := func(id, title string, clause harness.Clause, level harness.Level, severity harness.Severity, threat harness.Threat, covers, why, fix string) Check {
		return Check{ID: id, Title: title, Clause: clause, Level: level, Severity: severity, Threat: threat, Covers: covers, Needs: "as-metadata", Why: why, Fix: fix}
	}
	const unfound = "clients that configure themselves do not find it"
	location := row("metadata-location", "serves its metadata where RFC 8414 puts it", rfc8414("3"), harness.Should, harness.Low, harness.Interoperability, "META-AS-01.1 META-AS-01.3",
		unfound, "serve the document at /.well-known/oauth-authorization-server, before the path of the issuer, as application/json")
	location.Needs = "" // that none is served may be the finding
	return MetadataChecks{
		Location: location,
		Issuer: row("metadata-issuer", "names itself in its metadata by the issuer that it was asked for", rfc8414("3.3"), harness.Must, harness.High, harness.ClientImpersonation, "META-AS-02.1",
			"clients must not use such a document; those that do cannot tell one server from another", "put the configured issuer into the document, byte for byte"),
		Keys: row("metadata-keys", "publishes public keys only", rfc8414("2"), harness.Must, harness.Critical, harness.ClientImpersonation, "META-AS-04.2",
			"whoever reads the key set can sign tokens in the name of the server", "leave d, p, q, dp, dq, qi, oth and k out of the key set, and replace the keys that were in it"),
		// RECOMMENDED; the MUST is that there is some way to detect the support (RFC 9700 §2.1.1).
		PKCEMethods: row("metadata-pkce-methods", "announces PKCE with S256", rfc9700("2.1.1"), harness.Should, harness.Medium, harness.Downgrade, "META-AS-05.1",
			"clients that ask whether PKCE is there go without", "publish code_challenge_methods_supported: [S256]"),
		PKCEPlain: row("metadata-pkce-plain", "does not announce the plain method", rfc7636("7.2"), harness.Hardening, harness.Low, harness.Downgrade, "META-AS-05.2",
			"clients are invited to put the verifier into the authorization request", "publish S256 only"),
		AuthAlgorithms: row("metadata-auth-algorithms", "announces the algorithms of client assertions, without none", rfc8414("2"), harness.Must, harness.Low, harness.Interoperability, "META-AS-08.2",
			"a client cannot know how to sign, or is told that it need not", "publish token_endpoint_auth_signing_alg_values_supported, without none"),
		Iss: row("metadata-iss", "announces iss in authorization responses when it is sent, and only then", rfc9207("2.3"), harness.Should, harness.Low, harness.CodeInjection, "META-AS-09.1",
			"clients do not check iss unless it is announced, and refuse every response that lacks it when it is", "publish authorization_response_iss_parameter_supported: true and send iss"),
		PAR: row("metadata-par", "announces its endpoint for pushed authorization requests", rfc9126("5"), harness.Should, harness.Low, harness.Interoperability, "META-AS-10.1",
			unfound, "publish pushed_authorization_request_endpoint, an https URL"),
		// OPTIONAL by its definition; it is how a server says that it takes proofs at all (RFC 9449 §5.1).
		DPoPAlgorithms: row("metadata-dpop-algorithms", "announces the algorithms of proofs", rfc9449("5.1", ""), harness.Hardening, harness.Medium, harness.Interoperability, "META-AS-06.1",
			"clients that could use DPoP do not", "publish dpop_signing_alg_values_supported, an array of strings"),
		DPoPSymmetric: row("metadata-dpop-symmetric", "announces neither none nor a MAC for proofs", rfc9449("5.1", ""), harness.Must, harness.High, harness.Downgrade, "META-AS-06.2",
			"a proof without a private key proves nothing", "take asymmetric algorithms only, and list no others"),
		DPoPWork: row("metadata-dpop-algorithms-work", "takes proofs of every algorithm that it announces", rfc9449("5.1", ""), harness.Should, harness.Low, harness.Interoperability, "META-AS-06.3 DPOP-AS-01.2",
			"a client that chose from the list is refused", "list what the verifier takes"),
		// OPTIONAL, with false as the default.
		CertificateBound: row("metadata-certificate-bound", "announces certificate-bound tokens when it issues them, and only then", rfc8705("3.3"), harness.Hardening, harness.Low, harness.Interoperability, "META-AS-07.1",
			"clients cannot tell whether their tokens are worth something to a thief", "publish tls_client_certificate_bound_access_tokens: true when tokens are bound"),
	}
}
