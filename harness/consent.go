package harness

import (
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Consent is an authorization on whose way the user was asked for consent.
type Consent struct {
	Outcome
	User *User
	How  string // whose consent it was, and whether the first; "" when nobody was asked
	Why  string // why nobody was asked
}

// consents is which users have been sent to the server for which client, and whether they were asked. A first consent can be
// watched once for each; a server may remember it beyond the run.
type consents struct {
	mu    sync.Mutex
	asked map[string]bool   // by client and user
	wrong map[string]string // users who could not log in, and why: no more logins are spent on them
}

func newConsents() *consents { return &consents{asked: map[string]bool{}, wrong: map[string]string{}} }

func consentOf(c *Client, user string) string { return c.ClientID + "\x00" + user }

// note is called for every authorization of the run.
func (s *consents) note(c *Client, user *User, front *FrontChannel) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := consentOf(c, user.Username)
	s.asked[key] = s.asked[key] || front.Showed(ConsentForm)
}

// spend returns a user whom nothing has been asked for the client yet, or nil. The first user of the file has consented in the preflight.
func (s *consents) spend(c *Client, users []User) *User {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := len(users) - 1; i > 0; i-- { // the second one takes part in other attacks as well
		name := users[i].Username
		if _, met := s.asked[consentOf(c, name)]; !met && s.wrong[name] == "" {
			s.asked[consentOf(c, name)] = false
			return &users[i]
		}
	}
	return nil
}

func (s *consents) exclude(user *User, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wrong[user.Username] = why
}

// ranOut says what became of the users of the file, for the reader who may name more.
func (s *consents) ranOut(c *Client, users []User) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var asked, silent, wrong []string
	for _, u := range users[min(1, len(users)):] {
		shown, met := s.asked[consentOf(c, u.Username)]
		switch {
		case s.wrong[u.Username] != "":
			wrong = append(wrong, u.Username)
		case shown:
			asked = append(asked, u.Username)
		case met:
			silent = append(silent, u.Username)
		}
	}
	said := fmt.Sprintf("no user is left who has not met client %s (users in the target file: %d, of whom the first consents before the checks)", c.ClientID, len(users))
	for _, part := range []struct {
		what  string
		names []string
	}{{"consented in this run", asked}, {"no consent page was shown to", silent}, {"could not log in", wrong}} {
		if len(part.names) > 0 {
			said += "; " + part.what + ": " + strings.Join(part.names, ", ")
		}
	}
	if len(silent) == 0 {
		said += "; name more users"
	}
	return said
}

// Consenting plays an authorization on whose way the user is asked for consent: the first consent of a user whom the run has not
// sent to the server for this client; where none is left, or the server remembers them all, the repeated consent of the first user, which
// prompt=consent asks for (OpenID Connect Core §3.1.2.1). What was asked is observed, not assumed.
func (tr *Trace) Consenting(q AuthorizationRequest) Consent {
	if first := tr.FirstConsent(q); first.User != nil {
		return first
	}
	q.User = tr.firstUser()
	return tr.ConsentAgain(q)
}

// FirstConsent plays the first consent of a user whom the run has not sent to the server for this client, in a new browser session.
// User is nil where none is left, or the server remembers them all.
func (tr *Trace) FirstConsent(q AuthorizationRequest) Consent {
	c, users := q.Who.Client, tr.Target.Users
	for user := tr.consents.spend(c, users); user != nil; user = tr.consents.spend(c, users) {
		first := q
		first.User, first.Session = user, NewSession
		o := tr.Authorize(first)
		switch {
		case o.State == Unknown:
			tr.consents.exclude(user, o.Why)
			return Consent{Outcome: o, User: user}
		case o.State == Refused || o.Code.Front.Showed(ConsentForm):
			return Consent{Outcome: o, User: user, How: "the first consent of user " + user.Username + " to client " + c.called()}
		}
	}
	return Consent{}
}

// ConsentAgain plays the repeated consent of a user, which prompt=consent asks for (OpenID Connect Core §3.1.2.1).
func (tr *Trace) ConsentAgain(q AuthorizationRequest) Consent {
	c, users, user := q.Who.Client, tr.Target.Users, q.User
	again := q
	again.Change = func(m *Message, f Facts) {
		m.Params.Set("prompt", "consent")
		if q.Change != nil {
			q.Change(m, f)
		}
	}
	o := tr.Authorize(again)
	consent := Consent{Outcome: o, User: user}
	switch {
	case o.State == Granted && o.Code.Front.Showed(ConsentForm):
		consent.How = "a repeated consent of user " + user.Username + " to client " + c.called() + ", asked for by prompt=consent (" + tr.consents.ranOut(c, users) + ")"
	case o.State == Granted:
		consent.Why = "observed: " + tr.consents.ranOut(c, users) + "; prompt=consent shows no consent page either"
	case o.State == Refused:
		consent.Why = "observed: " + tr.consents.ranOut(c, users) + "; prompt=consent is refused (" + o.String() + ")"
	}
	return consent
}

// The forms of a login, as hops are named after them.
const (
	LoginForm   = "login form"
	ConsentForm = "consent form"
	HiddenForm  = "hidden form" // a script submits it, no user
)

// Showed reports whether a form of that kind was filled on the way.
func (f *FrontChannel) Showed(form string) bool {
	return f != nil && (slices.Contains(f.filled, form) || slices.ContainsFunc(f.Hops, func(h Hop) bool { return h.After == form }))
}
