package pkce

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/harness/expect"
)

// front is what the checks of the front channel have in common: a client with its honest authorization.
type front struct {
	*expect.Suite
	trial *harness.Trial
	who   harness.Identity
	at    expect.Place
}

func (f front) honest(c *expect.Case) func() harness.Outcome {
	return c.Proven("authorization of "+f.trial.Client.Name, func() harness.Outcome { return f.ask(c, nil) })
}

func (f front) ask(c *expect.Case, change harness.Change) harness.Outcome {
	return c.Authorize(harness.AuthorizationRequest{Who: f.who, Change: change})
}

// between is an authorization request with a change, between two honest ones.
func (f front) between(c *expect.Case, change harness.Change) harness.Outcome {
	return c.Between(f.honest(c), func() harness.Outcome { return f.ask(c, change) }, "the honest authorization request")
}

// shown declares a check of what a login shows, in a variant for each form of it.
func (f front) shown(check attacks.Check, form, variant string, login func(*expect.Case) harness.Consent, judge func(*expect.Case, *harness.Answer)) {
	at := f.at
	at.Variant = variant
	f.It(check, at, func(c *expect.Case) {
		o := login(c)
		c.Assume(o.Outcome).To(expect.BeAccepted(), "a login")
		for _, page := range o.Code.Front.Pages() {
			if page.Form == form {
				judge(c, page.Answer)
				return
			}
		}
		c.NotApplicable("%s", orText(unseen(o.Outcome), orText(o.Why, "observed: no "+form+" was shown")))
	})
}

// unseen says why nothing is known of the pages of a login, "" where they were seen.
func unseen(o harness.Outcome) string {
	if o.Code != nil && o.Code.Front != nil && o.Code.Front.Unseen != "" {
		return "declared: " + o.Code.Front.Unseen
	}
	return ""
}

func orText(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}

// pages checks what a browser gets to see. It runs late: first consents, which cannot be repeated, are for the checks of PKCE.
func pages(s *expect.Suite) {
	p := attacks.Pages()
	trial := anyCodeClient(s)
	f := front{Suite: s, trial: trial, at: expect.Place{Endpoint: "authorize"}}
	if trial == nil {
		for _, check := range p.All() {
			s.Skip(check, f.at, noCodeClient)
		}
		return
	}
	f.at.Client, f.who = trial.Client.Name, s.Honest(trial.Client, trial.Binding)
	responses(f, p)
	crossOrigin(f, p)
	implicitTokens(f, p)
	passwordTold(f, p)
	replays(s, p)
	guessable(f, p)
	f.shown(p.PageFramed, harness.LoginForm, "login", func(c *expect.Case) harness.Consent {
		return harness.Consent{Outcome: c.Authorize(harness.AuthorizationRequest{Who: f.who, Session: harness.NewSession})}
	}, framed)
	f.shown(p.PageFramed, harness.ConsentForm, "consent", func(c *expect.Case) harness.Consent {
		return c.Consenting(harness.AuthorizationRequest{Who: f.who})
	}, framed)
	reflected(f, p)
	denied(f, p)
	forged(f, p)
}

func framed(c *expect.Case, page *harness.Answer) {
	guard := harness.FrameGuard(page)
	if guard == "" {
		c.Fails("neither Content-Security-Policy: frame-ancestors nor X-Frame-Options keeps the page out of frames")
	}
	c.Passes("%s", guard)
}

// responses looks at authorization responses: state, iss, and how long they are kept.
func responses(f front, p attacks.PageChecks) {
	f.It(p.StateLong, f.at, func(c *expect.Case) {
		state := strings.Repeat("popcheck-", 112)[:1000]
		o := f.between(c, func(m *harness.Message, _ harness.Facts) { m.Params.Set("state", state) })
		switch got := ""; o.State {
		case harness.Unknown:
			c.Unlearned("%s", o)
		case harness.Granted:
			if got = o.Code.Response.Get("state"); got != state {
				c.Fails("of 1,000 characters of state, %d came back, and not as they were sent", len(got))
			}
			c.Passes("state of 1,000 characters came back whole")
		default:
			c.Measured("a state of 1,000 characters is refused (%s)", o)
			c.Passes("a state of 1,000 characters is refused, and not cut")
		}
	})
	f.It(p.IssEchoed, f.at, func(c *expect.Case) {
		const other = "https://attacker.example"
		o := f.between(c, func(m *harness.Message, _ harness.Facts) { m.Params.Set("iss", other) })
		switch {
		case o.State == harness.Unknown:
			c.Unlearned("%s", o)
		case o.Code != nil && slices.Contains(o.Code.Response["iss"], other):
			c.Fails("the response names %s, as the request did", other)
		}
		c.Passes("the response does not name what the request named (%s)", o)
	})
	f.It(p.CodeRedirectCached, f.at, func(c *expect.Case) {
		o := f.honest(c)()
		c.Assume(o).To(expect.BeAccepted(), "the honest authorization request")
		if o.Status/100 != 3 {
			c.NotApplicable("observed: the code comes on a page, not by redirect")
		}
		if why := harness.KeptByCaches(o.Answer.Header); why != "" {
			c.Fails("%s", why)
		}
		c.Measured("Cache-Control: %s", o.Answer.Header.Get("Cache-Control"))
		c.Passes("nothing allows a cache to keep the redirect")
	})
}

// crossOrigin asks as scripts of other origins would (CORS).
func crossOrigin(f front, p attacks.PageChecks) {
	row := func(check attacks.Check, method, origin string, more ...harness.Field) {
		if origin == "" {
			f.Skip(check, f.at, "client "+f.trial.Client.Name+" has no redirect_uri on the web")
			return
		}
		f.It(check, f.at, func(c *expect.Case) {
			fields := append([]harness.Field{{Name: "Origin", Value: origin}}, more...)
			o := c.Between(f.honest(c), func() harness.Outcome { return c.FirstPage(f.who, method, fields...) }, "the honest authorization request")
			if o.State == harness.Unknown {
				c.Unlearned("%s", o)
			}
			if allowed := o.Answer.Header.Get("Access-Control-Allow-Origin"); allowed == "*" || allowed == origin {
				c.Fails("the authorization endpoint answers with Access-Control-Allow-Origin: %s", allowed)
			}
			c.Passes("no Access-Control-Allow-Origin came with the answer to %s from %s", method, origin)
		})
	}
	registered := ""
	if u, err := url.Parse(f.trial.Client.RedirectURIs[0]); err == nil && (u.Scheme == "https" || u.Scheme == "http") {
		registered = u.Scheme + "://" + u.Host
	}
	row(p.CORSRegisteredOrigin, "GET", registered)
	row(p.CORSPreflight, "OPTIONS", "https://attacker.example", harness.Field{Name: "Access-Control-Request-Method", Value: "GET"}, harness.Field{Name: "Access-Control-Request-Headers", Value: "x-popcheck"})
}

// implicitTokens asks for tokens in the redirect, in the ways that are worse than response_type=token.
func implicitTokens(f front, p attacks.PageChecks) {
	f.It(p.ImplicitTokenInQuery, f.at, func(c *expect.Case) {
		o := f.between(c, func(m *harness.Message, _ harness.Facts) {
			m.Params.Set("response_type", "token")
			m.Params.Set("response_mode", "query")
		})
		if o.State == harness.Granted {
			if u, err := url.Parse(o.Code.Front.Redirect); err == nil && u.Query().Get("access_token") == "" {
				c.Warns("response_type=token was served, and response_mode=query was not")
				return
			}
		}
		c.Refuses(o, p.ImplicitTokenInQuery.Refusal)
	})
	f.It(p.HybridIDToken, f.at, func(c *expect.Case) {
		o := f.between(c, func(m *harness.Message, _ harness.Facts) {
			m.Params.Set("response_type", "id_token token")
			m.Params.Set("nonce", harness.Random(12))
		})
		if o.State == harness.Granted && o.Code.Response.Get("access_token") == "" {
			c.Warns("response_type=\"id_token token\" was answered as if it were another")
			return
		}
		c.Refuses(o, p.HybridIDToken.Refusal)
	})
	bound := f.Pick(func(t harness.Trial) bool {
		return t.Grant == harness.CodeGrant && (t.Client.DPoPBoundAccessTokens || t.Client.TLSClientCertificateBoundAccessTokens)
	})
	if bound == nil {
		f.Skip(p.ImplicitTokenForBound, f.at, "no client with the authorization_code grant is registered for bound access tokens")
		return
	}
	b := front{Suite: f.Suite, trial: bound, who: f.Honest(bound.Client, bound.Binding), at: expect.Place{Endpoint: "authorize", Client: bound.Client.Name}}
	f.It(p.ImplicitTokenForBound, b.at, func(c *expect.Case) {
		o := c.Between(b.honest(c), func() harness.Outcome {
			o := b.ask(c, func(m *harness.Message, _ harness.Facts) { m.Params.Set("response_type", "token") })
			if o.State != harness.Granted {
				return o
			}
			stolen := harness.Identity{Client: bound.Client} // whoever reads the redirect has no key
			o.Token = &harness.Token{AccessToken: o.Code.Response.Get("access_token"), TokenType: "Bearer", Who: stolen}
			if o.Token.AccessToken == "" {
				o.State, o.Where, o.Error = harness.Refused, harness.InRedirect, "(none: it was answered as if it asked for a code)"
				return o
			}
			c.Redactor.Register("access_token", o.Token.AccessToken)
			return c.Loot(o, harness.CodeGrant)
		}, "the honest authorization request")
		c.Refuses(o, p.ImplicitTokenForBound.Refusal)
	})
}

// passwordTold compares the refusals of the password grant with the right and with a wrong password.
func passwordTold(f front, p attacks.PageChecks) {
	at := expect.Place{Endpoint: "token", Grant: "password", Client: f.trial.Client.Name}
	f.It(p.PasswordTold, at, func(c *expect.Case) {
		user := c.LastUser()
		ask := func(password string) harness.Outcome {
			params := harness.Params{{Name: "grant_type", Value: "password"}, {Name: "username", Value: user.Username}, {Name: "password", Value: password}}
			return c.Token(harness.TokenRequest{Who: f.who, Step: "password grant", Params: params})
		}
		var right harness.Outcome
		wrong := c.Between(func() harness.Outcome { return c.Obtained(f.who, harness.CodeGrant) }, func() harness.Outcome {
			if right = ask(user.Password); right.State != harness.Refused {
				return right
			}
			return ask(harness.Random(12))
		}, "the honest flow")
		switch {
		case right.State == harness.Granted:
			c.NotApplicable("observed: the password grant is offered, so a password can be tried in any case; see password-grant")
		case wrong.State == harness.Unknown:
			c.Unlearned("%s", wrong)
		case wrong.Status != right.Status || wrong.Error != right.Error:
			c.Fails("the right password is refused in another way (%s) than a wrong one (%s)", right, wrong)
		}
		c.Passes("the right password and a wrong one are refused alike: %s", wrong)
	})
}

// replays watches tokens when their code comes again in a request that is wrong (OAuth 2.1 §7.5.3).
func replays(s *expect.Suite, p attacks.PageChecks) {
	row := func(check attacks.Check, kind attacks.Clients, wrong harness.Change) {
		at := expect.Place{Endpoint: "token", Grant: harness.CodeGrant}
		trials := clientsOf(s, kind)
		if len(trials) == 0 {
			s.Skip(check, at, "no client of that kind could get a token with the authorization_code grant")
			return
		}
		at.Client = trials[0].Client.Name
		s.It(check, at, func(c *expect.Case) {
			who := s.Honest(trials[0].Client, trials[0].Binding)
			if trials[0].Refresh == harness.Yes {
				c.Assume(c.Obtained(who, harness.RefreshGrant)).To(expect.BeAccepted(), "the honest refresh")
			}
			answer := reuse(c, who, wrong, func(first harness.Outcome) harness.Outcome {
				o := c.Alive(first.Token, harness.CodeGrant)
				if o.State == harness.Granted && trials[0].Refresh == harness.Yes {
					o = c.Loot(c.Refresh(first.Token, harness.TokenRequest{Who: who}), harness.RefreshGrant)
				}
				return o
			})
			if answer.State == harness.Refused {
				// RFC 6749 §4.1.2 asks for revocation at any second use: a server that heeds it is right by that text.
				c.Warns("the honest client's tokens do not work any more: %s", answer)
				return
			}
			c.Expect(answer).To(expect.BeAccepted())
			c.Passes("the honest client's tokens work on")
		})
	}
	row(p.ReplayWrongVerifier, attacks.PublicOnly, attacks.WrongVerifier)
	row(p.ReplayWrongCredential, attacks.ConfidentialOnly, attacks.WrongCredential)
}

// reflected looks for a script of the request in every page that comes of it.
func reflected(f front, p attacks.PageChecks) {
	f.It(p.StateScript, f.at, func(c *expect.Case) {
		mark := harness.NewScriptMark()
		seen := 0
		look := func(where string, o harness.Outcome) {
			for _, page := range o.PagesOf() {
				if seen++; mark.RunsIn(page.Answer) {
					c.Fails("%s is written into the page as it was sent: a script in it runs", where)
				}
			}
		}
		c.Assume(f.honest(c)()).To(expect.BeAccepted(), "the honest authorization request")
		c.Attack(func() {
			look("state", c.Authorize(harness.AuthorizationRequest{Who: f.who, Session: harness.NewSession, Change: setting("state", mark.Value())}))
			look("state", f.ask(c, func(m *harness.Message, facts harness.Facts) {
				setting("state", mark.Value())(m, facts)
				m.Params.Set("response_type", "popcheck-unknown")
			}))
			for _, name := range []string{"client_id", "redirect_uri", "scope"} {
				look(name, f.ask(c, setting(name, mark.Value())))
			}
		})
		c.Assume(f.honest(c)()).To(expect.BeAccepted(), "the honest authorization request, again")
		if seen == 0 {
			c.NotApplicable("observed: no page was shown")
		}
		c.Passes("%d pages write nothing of the request as a script", seen)
	})
}

func setting(name, value string) harness.Change {
	return func(m *harness.Message, _ harness.Facts) { m.Params.Set(name, value) }
}

// denied says no on the consent page of a user who has consented before.
func denied(f front, p attacks.PageChecks) {
	f.It(p.RedirectAfterDenial, f.at, func(c *expect.Case) {
		c.Assume(f.honest(c)()).To(expect.BeAccepted(), "the honest authorization request")
		var answer *harness.Answer
		var shown, offered bool
		c.Attack(func() {
			q := harness.AuthorizationRequest{Who: f.who, User: &harness.User{}}
			if len(c.Target.Users) > 0 {
				q.User = &c.Target.Users[0]
			}
			q.AtConsent = func(page *harness.ConsentPage) {
				if !shown {
					shown = true
					answer, offered = page.Deny()
				}
			}
			c.ConsentAgain(q)
		})
		c.Assume(f.honest(c)()).To(expect.BeAccepted(), "the honest authorization request, again")
		switch {
		case !shown:
			c.NotApplicable("observed: prompt=consent shows no consent page")
		case !offered:
			c.NotApplicable("observed: the consent page has no button that says no")
		case !answer.OK():
			c.Unlearned("nothing came back from the consent page: %s", answer.Failure.Error())
		case answer.Status == 307 || answer.Status == 308:
			c.Fails("the answer to a consent form that says no is HTTP %d: the browser sends the form on", answer.Status)
		}
		c.Passes("the answer to a consent form that says no is HTTP %d", answer.Status)
	})
}

// forged lets a page of another site send the consent form of one user in the browser of another. Both are asked about the very same
// request, which the attacker made: what differs between their forms is what the attacker cannot know of the victim's.
func forged(f front, p attacks.PageChecks) {
	f.It(p.ConsentForged, f.at, func(c *expect.Case) {
		users, pair, state := c.Target.Users, c.NewPKCE(), harness.Random(12)
		asked := false
		request := func(user *harness.User, session harness.Session, atConsent func(*harness.ConsentPage)) {
			seen := false
			q := harness.AuthorizationRequest{Who: f.who, User: user, Session: session, PKCE: pair,
				Change: func(m *harness.Message, _ harness.Facts) {
					m.Params.Set("state", state)
					if m.Params.Get("nonce") != "" {
						m.Params.Set("nonce", state)
					}
				},
				AtConsent: func(page *harness.ConsentPage) {
					if !seen {
						seen = true
						atConsent(page)
					}
				}}
			if c.ConsentAgain(q); !seen {
				c.FirstConsent(q)
			}
		}
		answer := c.Between(f.honest(c), func() (o harness.Outcome) {
			o.Why = "no consent page was shown"
			request(&users[1], harness.KeptSession, func(own *harness.ConsentPage) {
				request(&users[0], harness.NewSession, func(victims *harness.ConsentPage) {
					asked = true
					o = forgeries(own, victims)
				})
			})
			return o
		}, "the honest authorization request")
		if !asked {
			c.NotApplicable("observed: no consent page was shown to two users, neither with prompt=consent nor at a first consent")
		}
		c.Refuses(answer, p.ConsentForged.Refusal)
	})
}

// forgeries sends everything that a stranger can make of an own form, until a code comes. A form that brings a code in an empty
// browser too is no consent of the victim: the server takes its own fields for the session of whoever got them.
func forgeries(own, victims *harness.ConsentPage) harness.Outcome {
	secret := own.Secret(victims)
	type forgery struct {
		how  string
		page *harness.ConsentPage
	}
	var all []forgery
	if len(secret) > 0 {
		all = append(all, forgery{"without " + strings.Join(secret, ", "), own.Without(secret...)})
	}
	if len(secret) > 1 {
		for _, name := range secret {
			all = append(all, forgery{"without " + name + ", the rest of another session", own.Without(name)})
		}
	}
	all = append(all, forgery{"as another session shows it", own})
	if own.Method != "GET" {
		for _, f := range slices.Clone(all) {
			all = append(all, forgery{f.how + ", by GET", f.page.By("GET")})
		}
	}
	var last harness.Outcome
	for _, f := range all {
		if o := f.page.ForgedInEmptyBrowser(f.how); o.State != harness.Refused {
			if o.State == harness.Unknown {
				return o
			}
			continue
		}
		if last = f.page.ForgedIn(victims, f.how); last.State != harness.Refused {
			last.Got = fmt.Sprintf("an authorization code was issued for a consent form that another site sent, %s", f.how)
			return last
		}
	}
	if last.At == "" {
		last = harness.Outcome{State: harness.Refused, At: "the consent page", Where: harness.OnPage, Status: 200, Got: "the form works for the session only that it was shown in"}
	}
	return last
}
