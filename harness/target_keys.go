package harness

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// --- secrets and files ---

// secret reads {env: NAME}, {file: path} or a literal. One newline at the end of a file is its
// editor's, not the secret's.
func (l *targetLoader) secret(at yamlPlace) (string, bool) {
	if at.node.Kind != yaml.MappingNode {
		return l.text(at)
	}
	data, from, ok := l.reference(at)
	if !ok {
		return "", false
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	switch {
	case strings.TrimSpace(text) == "":
		l.problem(from, fmt.Sprintf("%q is empty", clip(from.node.Value)), "put the secret there")
		return "", false
	case !utf8.ValidString(text):
		l.problem(from, fmt.Sprintf("%q is not UTF-8", clip(from.node.Value)), "put the secret there as text")
		return "", false
	}
	return text, true
}

func (l *targetLoader) secretOf(table yamlTable, key string) string {
	if at, ok := table.values[key]; ok {
		text, _ := l.secret(at)
		return text
	}
	return ""
}

// reference reads what {env: NAME} or {file: path} names, and returns the place of the name. An
// unknown key that is near no known one is not repeated: it may be the secret itself.
func (l *targetLoader) reference(at yamlPlace) (data []byte, from yamlPlace, ok bool) {
	const right = "write {env: NAME} or {file: path}, one of the two"
	table, ok := l.openTable(at)
	if !ok {
		return nil, at, false
	}
	known := []string{"env", "file"}
	for _, name := range table.names {
		if slices.Contains(known, name) {
			continue
		}
		if near := nearestKey(name, known); near != "" {
			l.problemOnLine(l.lines[keyPath(at.path, name)], keyPath(at.path, name), "unknown key", fmt.Sprintf("did you mean %s?", near))
		} else {
			l.problem(at, "holds an unknown key", right)
		}
		return nil, at, false
	}
	if len(table.names) != 1 {
		l.problem(at, "names no source, or two", right)
		return nil, at, false
	}
	from = table.values[table.names[0]]
	if table.names[0] == "env" {
		data, ok = l.environment(from)
	} else {
		data, ok = l.fileAt(from)
	}
	return data, from, ok
}

func (l *targetLoader) environment(at yamlPlace) ([]byte, bool) {
	name, ok := l.text(at)
	if !ok {
		return nil, false
	}
	if !regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`).MatchString(name) {
		l.problem(at, "is no name of an environment variable", "write its name alone: letters, digits and _, without $")
		return nil, false
	}
	value, set := os.LookupEnv(name)
	switch {
	case !set:
		l.problem(at, fmt.Sprintf("the environment variable %s is not set", name), "export it before the run")
	case value == "":
		l.problem(at, fmt.Sprintf("the environment variable %s is empty", name), "give it a value before the run")
	}
	return []byte(value), value != ""
}

func (l *targetLoader) fileAt(at yamlPlace) ([]byte, bool) {
	path, ok := l.text(at)
	if !ok {
		return nil, false
	}
	data, err := readRegular(l.resolvePath(path))
	if err == nil && len(data) == 0 {
		err = errors.New("is empty")
	}
	if err != nil {
		l.problem(at, fmt.Sprintf("%q %v", clip(path), err), "name a file that can be read; relative paths start at the target file")
		return nil, false
	}
	return data, true
}

func (l *targetLoader) resolvePath(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(l.dir, path)
}

// readRegular refuses pipes and devices: reading one may wait for ever.
func readRegular(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, plainFileError(err)
	case info.IsDir():
		return nil, errors.New("is a directory")
	case !info.Mode().IsRegular():
		return nil, errors.New("is no regular file")
	case info.Size() > maxTargetBytes:
		return nil, errors.New("is larger than 1 MiB")
	}
	return readBounded(path)
}

// --- keys and certificates ---

// keyProblem is what is wrong with key material.
type keyProblem struct{ wrong, right string }

// material reads PEM from a path, {file}, {env}, or a literal that is PEM itself, so that a generated
// target file can stand alone.
func (l *targetLoader) material(at yamlPlace) (data []byte, from yamlPlace, ok bool) {
	if at.node.Kind == yaml.MappingNode {
		return l.reference(at)
	}
	text, ok := l.text(at)
	if !ok {
		return nil, at, false
	}
	if strings.HasPrefix(strings.TrimSpace(text), "-----BEGIN ") {
		return []byte(text), at, true
	}
	data, ok = l.fileAt(at)
	return data, at, ok
}

// privateKey reads the PEM or JWK of private_key.
func (l *targetLoader) privateKey(table yamlTable) []byte {
	at, ok := table.values["private_key"]
	if !ok {
		return nil
	}
	text, ok := l.secret(at)
	if !ok {
		return nil
	}
	if problem := checkClientKey([]byte(text)); problem != nil {
		if at.node.Kind == yaml.ScalarNode && !strings.Contains(text, "\n") && len(text) < 256 {
			problem.right += "; if this is a path, write {file: path}"
		}
		l.problem(at, problem.wrong, problem.right)
		return nil
	}
	return []byte(text)
}

// checkClientKey takes the keys that a JWS algorithm exists for (RFC 7518 §3.1, RFC 8037 §3.1).
func checkClientKey(data []byte) *keyProblem {
	if trimmed := bytes.TrimSpace(data); bytes.HasPrefix(trimmed, []byte("{")) {
		return checkJWK(trimmed)
	}
	key, problem := parsePEMKey(data)
	if problem != nil {
		return problem
	}
	const right = "use EC P-256, P-384 or P-521, RSA of at least 2048 bits, or Ed25519"
	switch key := key.(type) {
	case *rsa.PrivateKey:
		if key.N.BitLen() < minRSABits {
			return &keyProblem{fmt.Sprintf("is an RSA key of %d bits", key.N.BitLen()), right}
		}
	case *ecdsa.PrivateKey:
		if name := key.Curve.Params().Name; !slices.Contains(jwkCurves("EC"), name) {
			return &keyProblem{"is an EC key on " + name, right}
		}
	case ed25519.PrivateKey:
	default:
		return &keyProblem{"is a key of a kind that cannot sign assertions", right}
	}
	return nil
}

// parsePEMKey reads the first private key of a PEM: PKCS #8, PKCS #1 or SEC 1.
func parsePEMKey(data []byte) (crypto.Signer, *keyProblem) {
	const right = "use an unencrypted key as PEM (PKCS #8, PKCS #1 or SEC 1)"
	var block *pem.Block
	for block, data = pem.Decode(data); block != nil; block, data = pem.Decode(data) {
		if strings.HasSuffix(block.Type, "PRIVATE KEY") {
			break
		}
	}
	if block == nil {
		return nil, &keyProblem{"holds no private key", right}
	}
	if block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "" {
		return nil, &keyProblem{"is encrypted, and popcheck asks for no passphrase", "decrypt it: openssl pkey -in old.key -out new.key"}
	}
	var key any
	var err error
	switch block.Type {
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	default:
		return nil, &keyProblem{fmt.Sprintf("holds a %q", clip(block.Type)), right}
	}
	signer, ok := key.(crypto.Signer)
	if err != nil || !ok {
		return nil, &keyProblem{"holds a private key that cannot be read", right} // err may quote bytes of the key
	}
	return signer, nil
}

// checkJWK checks the form of a private JWK (RFC 7517 §4, RFC 7518 §6, RFC 8037 §2).
func checkJWK(data []byte) *keyProblem {
	const right = "use one private JWK with kty EC, RSA or OKP and its member d"
	var jwk map[string]any
	if json.Unmarshal(data, &jwk) != nil {
		return &keyProblem{"is not JSON", right}
	}
	kty, _ := jwk["kty"].(string)
	crv, _ := jwk["crv"].(string)
	private, _ := jwk["d"].(string)
	switch {
	case jwk["keys"] != nil:
		return &keyProblem{"is a JWK Set", right}
	case kty == "":
		return &keyProblem{"has no kty", right}
	case kty == "oct":
		return &keyProblem{"is a symmetric key", "use client_secret with client_secret_jwt, or an EC, RSA or OKP key"}
	case jwkCurves(kty) == nil && kty != "RSA":
		return &keyProblem{fmt.Sprintf("has the unknown kty %q", clip(kty)), right}
	case private == "":
		return &keyProblem{"is a public key: it has no member d", right}
	case kty != "RSA" && !slices.Contains(jwkCurves(kty), crv):
		return &keyProblem{fmt.Sprintf("has the crv %q", clip(crv)), "use " + strings.Join(jwkCurves(kty), ", ")}
	case kty == "RSA" && jwkBits(jwk["n"]) < minRSABits:
		return &keyProblem{"is an RSA key of fewer than 2048 bits", "use at least 2048 bits"}
	}
	return nil
}

// jwkCurves returns the curves of a kty that a JWS algorithm exists for; nil if it has none.
func jwkCurves(kty string) []string {
	switch kty {
	case "EC":
		return []string{"P-256", "P-384", "P-521"}
	case "OKP":
		return []string{"Ed25519"}
	}
	return nil
}

// jwkBits returns the size of an RSA modulus in bits, rounded up to bytes; 0 if it is none.
func jwkBits(modulus any) int {
	text, _ := modulus.(string)
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return 0
	}
	return len(bytes.TrimLeft(raw, "\x00")) * 8
}

// parseChain reads every certificate of a PEM, the leaf first.
func parseChain(data []byte) ([]*x509.Certificate, *keyProblem) {
	const right = "use PEM: -----BEGIN CERTIFICATE----- …, the leaf first"
	var chain []*x509.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, &keyProblem{fmt.Sprintf("certificate %d cannot be read: %v", len(chain)+1, err), right}
		}
		chain = append(chain, cert)
	}
	if len(chain) == 0 {
		return nil, &keyProblem{"holds no certificate", right}
	}
	return chain, nil
}

// chain reads the certificates at a place.
func (l *targetLoader) chain(at yamlPlace) ([]byte, []*x509.Certificate) {
	data, from, ok := l.material(at)
	if !ok {
		return nil, nil
	}
	chain, problem := parseChain(data)
	if problem != nil {
		l.problem(from, problem.wrong, problem.right)
		return nil, nil
	}
	return data, chain
}

// keyPair reads {cert, key} and checks that they belong together. The chain is nil after a problem.
func (l *targetLoader) keyPair(at yamlPlace) (*KeyPair, []*x509.Certificate) {
	table, ok := l.table(at, []string{"cert", "key"})
	if !ok {
		return nil, nil
	}
	l.needs(table, "cert", "write cert: path of the certificate chain, PEM")
	l.needs(table, "key", "write key: path of the private key, PEM")
	pair := &KeyPair{}
	var chain []*x509.Certificate
	if cert, ok := table.values["cert"]; ok {
		pair.Cert, chain = l.chain(cert)
	}
	key, ok := table.values["key"]
	if !ok {
		return nil, nil
	}
	data, from, ok := l.material(key)
	if !ok {
		return nil, nil
	}
	pair.Key = data
	signer, problem := parsePEMKey(data)
	if problem == nil && chain != nil {
		problem = matchKey(signer, chain)
	}
	if problem != nil {
		l.problem(from, problem.wrong, problem.right)
		return nil, nil
	}
	return pair, chain
}

// matchKey checks that the key is that of the leaf, the first of the chain.
func matchKey(key crypto.Signer, chain []*x509.Certificate) *keyProblem {
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	for i, cert := range chain {
		switch {
		case !ok || !public.Equal(cert.PublicKey):
		case i == 0:
			return nil
		default:
			return &keyProblem{fmt.Sprintf("belongs to certificate %d of the chain, not to the first", i+1), "put the certificate of the key first"}
		}
	}
	return &keyProblem{"does not match the certificate", "use the key that the first certificate was issued for"}
}

// authority reads client_ca or second_client_ca: a key pair that may sign certificates (RFC 5280 §4.2.1.3, §4.2.1.9).
func (l *targetLoader) authority(at yamlPlace) *KeyPair {
	pair, chain := l.keyPair(at)
	if chain == nil {
		return nil
	}
	ca := chain[0]
	switch {
	case !ca.BasicConstraintsValid || !ca.IsCA:
		l.problem(at, "its certificate is not that of a CA", "use one with basic constraints CA:TRUE")
	case ca.KeyUsage != 0 && ca.KeyUsage&x509.KeyUsageCertSign == 0:
		l.problem(at, "its certificate may not sign certificates", "use one with key usage keyCertSign, or without key usage")
	}
	return pair
}
