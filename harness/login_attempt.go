package harness

import (
	"cmp"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// attempt is what a driver that fills forms keeps in mind on the way of one authorization.
type attempt struct {
	tr     *Trace
	b      *browserSession
	e      errand
	fields map[string]string

	typed   bool // the password was sent
	passed  bool // and a page after it was passed
	codes   int  // one-time codes that were sent
	renewed bool // the session had been lost
}

// credentials are what a user types: a one-time code is made for the moment.
type credentials struct{ username, password, code string }

// meets says what the form of a page is for and what is typed into it. The error ends the authorization: nobody can log in here.
func (a *attempt) meets(seen *Answer, p *page, f *form) (kind string, who credentials, err error) {
	user := a.e.user
	asksPassword, asksCode := f.asksPassword(a.fields), f.asksCode(a.fields)
	who = credentials{username: user.Username, password: user.Password}
	switch {
	case asksPassword || asksCode || f.asksUser(a.fields):
	case f.onlyHidden():
		return HiddenForm, who, nil
	default:
		a.passed = a.typed
		return ConsentForm, who, nil
	}
	switch {
	case asksPassword && a.typed && a.passed:
		return "", who, a.stuck(seen, p, "the session of user %s was lost again, right after its login was renewed", user.Username)
	case asksPassword && a.typed:
		return "", who, a.refused(seen, p, "after the password it is asked for again; check users and login.fields")
	case user.Username == "":
		return "", who, a.stuck(seen, p, "a user is asked for, and the target file names none under users")
	}
	if why := a.tr.sessions.exhausted(); why != "" {
		return "", who, fmt.Errorf("%w: %s", ErrLogin, why)
	}
	if !a.typed && !a.renewed && a.b.known && a.e.asIs { // a session that never held is no loss: its server keeps none
		if a.b.renewed && a.b.served == 0 {
			a.b.known = false // nor does one that is lost at each authorization
		} else {
			a.renewed = true
		}
	}
	if asksCode {
		if who.code, err = a.code(seen, p); err != nil {
			return "", who, err
		}
	}
	if asksPassword {
		a.tr.sessions.countLogin()
		a.typed = true
	}
	return LoginForm, who, nil
}

// code is a one-time code that was not sent before. A server that refuses one may have seen it from somebody else, or have another
// idea of the time: a second one is tried, no third.
func (a *attempt) code(seen *Answer, p *page) (string, error) {
	user := a.e.user
	switch {
	case user.TOTPSeed == "":
		return "", a.stuck(seen, p, "a one-time code is asked for, and user %s has no totp_seed", user.Username)
	case a.codes > 1:
		return "", a.refused(seen, p, "two one-time codes were not taken; check users[].totp_seed, and the clocks")
	}
	a.codes++
	return a.tr.oneTimeCode(user)
}

// step names the request with a form in the record.
func (a *attempt) step(kind string) string {
	if kind == LoginForm && a.renewed {
		return kind + " (the session of user " + a.e.user.Username + " was lost; its login is renewed)"
	}
	return kind
}

// ended notes what the authorization says of the session, once the browser was sent back to the client.
func (a *attempt) ended(front *FrontChannel) {
	switch {
	case a.typed:
		a.b.served, a.b.renewed = 0, a.renewed
	case front.Params.Get("code") != "": // an error needs no login
		a.b.known, a.b.served = true, a.b.served+1
	}
	front.Renewed = a.renewed
}

// rejected reports whether an answer to the password itself refuses it, on a page of its own: nothing that an attack changed is
// decided by that.
func rejected(a *Answer) bool {
	return a.Status == http.StatusUnauthorized || a.Status == http.StatusForbidden
}

// refused is a login that the server did not accept; it counts.
func (a *attempt) refused(seen *Answer, p *page, why string, args ...any) error {
	err := a.stuck(seen, p, "user "+a.e.user.Username+" was refused: "+why, args...)
	a.tr.countFailedLogin()
	return err
}

// stuck is a login that cannot go on: on which page, what was seen there, and where the page can be looked at.
func (a *attempt) stuck(seen *Answer, p *page, why string, args ...any) error {
	return fmt.Errorf("%w: %s; %s", ErrLogin, fmt.Sprintf(why, args...), a.tr.pageOf(seen, p, a.b))
}

// pageOf tells of a page on which a login ended, and keeps it for inspection.
func (tr *Trace) pageOf(seen *Answer, p *page, b *browserSession) string {
	at := "an unknown address"
	if u := seen.URL; u != nil && u.Host != "" {
		at = u.Scheme + "://" + u.Host + u.EscapedPath() // what follows the path are secrets, often
	}
	told := fmt.Sprintf("the page %q at %s (HTTP %d), fields seen: %s", p.title, at, seen.Status, cmp.Or(p.names(), "none"))
	if b != nil && b.tab != nil && len(b.tab.blocked) > 0 {
		told += "; it wanted to load from " + strings.Join(sortedKeys(b.tab.blocked), ", ") + ", which the target file does not name under hosts"
	}
	body := seen.Body
	if len(p.source) > 0 {
		body = p.source
	}
	path, err := tr.keepPage(told, body)
	switch {
	case err != nil:
		told += "; it could not be kept: " + err.Error()
	case path != "":
		told += "; it is kept in " + path
	}
	return told
}

// names lists the fields of a page that a person could fill, as the server names them.
func (p *page) names() string {
	var out []string
	for _, f := range p.forms {
		if names := f.names(); names != "" && !slices.Contains(out, names) {
			out = append(out, names)
		}
	}
	return strings.Join(out, "; ")
}

// longValue is what a page hides in its scripts, most often: nobody needs it to see where a login ended.
var longValue = regexp.MustCompile(`[A-Za-z0-9_+/=-]{24,}`)

// pagesKept bounds the files of failed logins in one run.
const pagesKept = 9

// keepPage writes a page, with every secret that is known by now replaced, as plain text: no browser runs what is in it.
func (tr *Trace) keepPage(told string, body []byte) (string, error) {
	t := tr.Tester
	if t.FailedLogins == "" {
		return "", nil
	}
	t.mu.Lock()
	t.pagesKept++
	n := t.pagesKept
	t.mu.Unlock()
	if n > pagesKept {
		return "", nil
	}
	name := strings.TrimSuffix(t.FailedLogins, ".txt")
	if n > 1 {
		name += fmt.Sprintf("-%d", n)
	}
	path := name + ".txt"
	page := tr.Redactor.Text(strings.ToValidUTF8(string(body[:min(len(body), evidenceLimit)]), "\uFFFD"))
	text := tr.Redactor.Text(told) + "\n\n" + longValue.ReplaceAllStringFunc(page, func(word string) string {
		if strings.ContainsAny(word, "0123456789") && strings.IndexFunc(word, unicode.IsLetter) >= 0 {
			return "⟨long value⟩"
		}
		return word
	}) + "\n"
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	return path, os.WriteFile(path, []byte(text), 0o600)
}
