package harness

import (
	"fmt"
	"net/netip"
	"slices"

	"go.yaml.in/yaml/v3"
)

func (l *targetLoader) clients(at yamlPlace) []Client {
	var all []Client
	for _, item := range l.filled(at, "list at least one client") {
		table, ok := l.table(item, clientKeys())
		if !ok {
			continue
		}
		client := l.client(table)
		l.nameTwice(all, client, table)
		all = append(all, client)
	}
	return all
}

// client reads one client. What is left out has the default of RFC 7591 §2.
func (l *targetLoader) client(table yamlTable) Client {
	c := Client{
		Line:                                  table.node.Line,
		ClientID:                              l.matching(table, "client_id", `^[\x20-\x7e]+$`, "use printable ASCII (RFC 6749 appendix A.1)"),
		TokenEndpointAuthMethod:               l.choice(table, "token_endpoint_auth_method", authMethods(), methodBasic),
		ClientSecret:                          l.secretOf(table, "client_secret"),
		PrivateKey:                            l.privateKey(table),
		GrantTypes:                            l.grants(table),
		Scope:                                 l.scope(table),
		AuthorizationParameters:               l.parameters(table, "authorization_parameters", reservedAuthorization()),
		TokenParameters:                       l.parameters(table, "token_parameters", reservedToken()),
		DPoPBoundAccessTokens:                 l.flag(table, "dpop_bound_access_tokens"),
		TLSClientCertificateBoundAccessTokens: l.flag(table, "tls_client_certificate_bound_access_tokens"),
		RequirePushedAuthorizationRequests:    l.flag(table, "require_pushed_authorization_requests"),
		TLSClientAuthSubjectDN:                l.textOf(table, "tls_client_auth_subject_dn"),
		TLSClientAuthSANDNS:                   l.textOf(table, "tls_client_auth_san_dns"),
		TLSClientAuthSANURI:                   l.textOf(table, "tls_client_auth_san_uri"),
		TLSClientAuthSANIP:                    l.sanIP(table),
		TLSClientAuthSANEmail:                 l.textOf(table, "tls_client_auth_san_email"),
	}
	c.Name = l.clientName(table, c.ClientID)
	l.registered(table, &c)
	if at, ok := table.values["certificate"]; ok {
		c.Certificate, _ = l.keyPair(at)
	}
	if at, ok := table.values["redirect_uris"]; ok {
		c.RedirectURIs = l.texts(at, l.redirectURI)
	}
	l.checkCredentials(table, c)
	l.checkSubject(table, c)
	return c
}

// grants are those of the registration. Whoever stands for a resource server may have none: it only asks about tokens (RFC 7662 §2.1).
func (l *targetLoader) grants(table yamlTable) []string {
	at, ok := table.values["grant_types"]
	if !ok {
		return []string{grantCode}
	}
	all := l.texts(at, func(at yamlPlace) (string, bool) {
		grant := l.oneOf(at, grantTypes())
		return grant, grant != ""
	})
	if at.node.Kind == yaml.SequenceNode && len(at.node.Content) == 0 && !l.introspects(table) {
		l.problem(at, "is an empty list", "list the grants that the client may use; only introspection_client may have none")
	}
	return all
}

// introspects reports whether a client is the one that introspection_client names.
func (l *targetLoader) introspects(table yamlTable) bool {
	return l.introspector != "" && slices.ContainsFunc([]string{"client_id", "name"}, func(key string) bool {
		at, ok := table.values[key]
		return ok && at.node.Value == l.introspector
	})
}

func (l *targetLoader) parameters(table yamlTable, key string, reserved []string) map[string]string {
	at, ok := table.values[key]
	if !ok {
		return nil
	}
	return l.textMap(at, func(name string, value yamlPlace) (string, bool) {
		if slices.Contains(reserved, name) {
			l.problem(value, "is a parameter that popcheck sets itself", "remove it: checks change it one at a time")
			return "", false
		}
		return l.anyText(value)
	})
}

func (l *targetLoader) sanIP(table yamlTable) string {
	text := l.textOf(table, "tls_client_auth_san_ip")
	if _, err := netip.ParseAddr(text); text != "" && err != nil {
		l.problem(table.values["tls_client_auth_san_ip"], fmt.Sprintf("%q is no IP address", clip(text)), "write an address as in 192.0.2.7 or 2001:db8::7")
		return ""
	}
	return text
}

// checkCredentials holds the method and the grants of a client against what it has.
func (l *targetLoader) checkCredentials(table yamlTable, c Client) {
	credential := map[string]string{
		methodBasic: "client_secret", methodPost: "client_secret", methodSecretJWT: "client_secret",
		methodPrivateKey: "private_key", methodTLS: "certificate", methodSelfSigned: "certificate",
	}[c.TokenEndpointAuthMethod]
	if c.Register && credential != "certificate" || !c.Register && table.lacks("client_id") { // the server makes the secret, and popcheck a key; or it is no client yet
		credential = ""
	}
	switch {
	case credential != "" && table.lacks(credential) && table.lacks("token_endpoint_auth_method"):
		l.problem(table.yamlPlace, fmt.Sprintf("needs %s: without token_endpoint_auth_method the method is %s (RFC 7591 §2)", credential, methodBasic),
			"add it, or write token_endpoint_auth_method: none for a public client")
	case credential != "" && table.lacks(credential) && table.has("token_endpoint_auth_method"):
		l.problem(table.values["token_endpoint_auth_method"], fmt.Sprintf("%s needs %s", c.TokenEndpointAuthMethod, credential), "add it to this client, or correct the method")
	case c.TokenEndpointAuthMethod == methodNone && table.has("client_secret"):
		l.problem(table.values["client_secret"], "a client with the method none has no secret", "remove it, or write token_endpoint_auth_method: client_secret_basic")
	}
	if c.TLSClientCertificateBoundAccessTokens && table.lacks("certificate") {
		l.problem(table.values["tls_client_certificate_bound_access_tokens"], "needs certificate", "add certificate: {cert: path, key: path}: tokens are bound to it")
	}
	if at, given := table.values["redirect_uris"]; c.HasGrant(grantCode) && (table.lacks("redirect_uris") || given && at.node.Kind == yaml.SequenceNode && len(at.node.Content) == 0) {
		l.problem(table.yamlPlace, "needs redirect_uris: it may use authorization_code", "list the registered redirect URIs, or write grant_types without authorization_code")
	}
}

// checkSubject holds RFC 8705 §2.1.2: exactly one name of the subject, for tls_client_auth.
func (l *targetLoader) checkSubject(table yamlTable, c Client) {
	var given []string
	for _, key := range subjectKeys() {
		if table.has(key) {
			given = append(given, key)
		}
	}
	switch {
	case len(given) > 1:
		l.problem(table.values[given[1]], "is a second name of the subject beside "+given[0], "keep one of them (RFC 8705 §2.1.2)")
	case len(given) == 1 && c.TokenEndpointAuthMethod != methodTLS && c.TokenEndpointAuthMethod != "":
		l.problem(table.values[given[0]], "is for clients with the method tls_client_auth", "remove it, or correct the method")
	}
}
