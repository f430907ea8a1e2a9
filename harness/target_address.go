package harness

import (
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// absoluteURL reads an https URL without user and fragment. Plain http is for loopback alone: tokens
// travel there.
func (l *targetLoader) absoluteURL(at yamlPlace) (*url.URL, bool) {
	text, ok := l.text(at)
	if !ok {
		return nil, false
	}
	u, err := url.Parse(text)
	const right = "write an absolute URL: https://host/path"
	switch {
	case err != nil || u.Host == "" || u.Opaque != "":
		l.problem(at, "is no absolute URL", right)
	case u.User != nil:
		l.problem(at, "holds user information", "remove what stands before the @")
	case !validHost(u.Hostname()) || !validPort(u.Port()) || strings.HasSuffix(u.Host, ":"):
		l.problem(at, fmt.Sprintf("%q is no host", clip(u.Host)), right)
	case strings.Contains(text, "#"):
		l.problem(at, "has a fragment", "remove # and what follows: it is never sent")
	case strings.ContainsFunc(text, unicode.IsSpace):
		l.problem(at, "holds a space", "write it as %20, or remove it")
	case !strings.HasPrefix(text, u.Scheme):
		l.problem(at, "has a scheme in capitals", "write "+strings.ToLower(u.Scheme))
	case u.Scheme == "http" && !l.target.loopback(u.Hostname()):
		l.problem(at, "is http, and its host is not loopback", "use https, or 127.0.0.1, ::1 or localhost")
	case u.Scheme != "https" && u.Scheme != "http":
		l.problem(at, fmt.Sprintf("has the scheme %q", clip(u.Scheme)), "use https")
	default:
		return u, true
	}
	return nil, false
}

// validHost takes an IP address, or a name that could be one of DNS (underscores are in use).
func validHost(host string) bool {
	name := CanonicalHost(host)
	if _, err := netip.ParseAddr(name); err == nil {
		return true
	}
	return len(name) <= 253 && regexp.MustCompile(`^[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*$`).MatchString(name)
}

// hostEntry reads an entry of hosts: host or host:port.
func (l *targetLoader) hostEntry(at yamlPlace) (string, bool) {
	text, ok := l.text(at)
	if !ok {
		return "", false
	}
	host, port := splitHost(text)
	right := "write a host or host:port, as in api.example.com or \"[::1]:8443\""
	switch u, err := url.Parse(text); {
	case strings.Contains(text, "://") && err == nil && u.Host != "":
		l.problem(at, "is a URL", "write its host alone: "+u.Host)
	case strings.Contains(host, "*"):
		l.problem(at, "holds a wildcard", "name each host: nothing else may be contacted")
	case !validHost(host) || !validPort(port) || strings.HasSuffix(text, ":") && !strings.Contains(text, "::"):
		l.problem(at, fmt.Sprintf("%q is no host", clip(text)), right)
	default:
		return text, true
	}
	return "", false
}

// redirectURI reads a URI that popcheck reads from redirects (RFC 6749 §3.1.2, RFC 8252 §7).
func (l *targetLoader) redirectURI(at yamlPlace) (string, bool) {
	text, ok := l.text(at)
	if !ok {
		return "", false
	}
	u, err := url.Parse(text)
	scripts := []string{"javascript", "data", "vbscript", "file", "blob", "about", "ws", "wss", "ftp"}
	switch {
	case err != nil || u.Scheme == "" || u.Host+u.Path+u.Opaque == "":
		l.problem(at, "is no absolute URI", "write one with a scheme: https://client.example/cb")
	case strings.Contains(text, "#"):
		l.problem(at, "has a fragment", "remove # and what follows (RFC 6749 §3.1.2)")
	case strings.ContainsFunc(text, unicode.IsSpace):
		l.problem(at, "holds a space", "write it as %20, or remove it")
	case u.Scheme == "http" && !Loopback(u.Hostname()):
		l.problem(at, "is http, and its host is not loopback", "use https, http on 127.0.0.1, [::1] or localhost, or a private-use scheme")
	case (u.Scheme == "https" || u.Scheme == "http") && (!validHost(u.Hostname()) || !validPort(u.Port())):
		l.problem(at, "names no host", "write one as in https://client.example/cb")
	case slices.Contains(scripts, u.Scheme):
		l.problem(at, fmt.Sprintf("has the scheme %q", u.Scheme), "use https, http on loopback, or a private-use scheme")
	default:
		return text, true
	}
	return "", false
}
