package pkce

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/harness/expect"
)

// anyCodeClient is the client of the front channel's checks: the first that can get a code.
func anyCodeClient(s *expect.Suite) *harness.Trial {
	return s.Pick(func(t harness.Trial) bool { return t.Grant == harness.CodeGrant })
}

func anyTrial(harness.Trial) bool { return true }

const noCodeClient = "the target file names no client with the authorization_code grant that could get a token"

// redirects runs the rows of mutated redirect URIs. The oracle is where the browser is sent, before any login. A server may compare
// pushed requests in another way, so the addresses are pushed too.
func redirects(s *expect.Suite) {
	trial := anyCodeClient(s)
	pushes := func(t harness.Trial) bool { return t.Client.Public() && t.CannotPush == "" }
	for _, a := range slices.Concat(attacks.Redirects(), attacks.NativeRedirects()) {
		at := expect.Place{Endpoint: "authorize", Role: harness.AuthorizationServer}
		fitting := sender(s, a, anyTrial)
		switch {
		case trial == nil:
			s.Skip(a.Check, at, noCodeClient)
			continue
		case fitting == nil:
			s.Skip(a.Check, at, "no client of the target file has a redirect_uri of which such an address can be made")
			continue
		case s.MustPush(fitting.Client):
			at.Client = fitting.Client.Name
			s.Skip(a.Check, at, "authorization requests must be pushed; an unregistered redirect_uri cannot be tried in the front channel")
		default:
			at.Client = fitting.Client.Name
			redirect(s, a, at, fitting, (*harness.Trace).ToRedirect)
		}
		// A client that authenticates may bring an address of its own (RFC 9126 §2.4).
		if fitting = sender(s, a, pushes); a.Pushed == attacks.AsWell && fitting != nil && s.Learned.Has("par") != harness.No {
			redirect(s, a, expect.Place{Endpoint: "par", Client: fitting.Client.Name}, fitting, (*harness.Trace).PushedToRedirect)
		}
	}
}

// sender is a client with an address that the row can edit; one that need not push its requests where there is one.
func sender(s *expect.Suite, a attacks.RedirectAttack, fits func(harness.Trial) bool) *harness.Trial {
	usable := func(t harness.Trial) bool {
		_, uri := mutated(s, a, t.Client)
		return t.Grant == harness.CodeGrant && uri != "" && fits(t)
	}
	if t := s.Pick(func(t harness.Trial) bool { return usable(t) && !s.MustPush(t.Client) }); t != nil {
		return t
	}
	return s.Pick(usable)
}

// mutated is the address of a row for a client, and the registered one that it was made of; "" where there is none.
func mutated(s *expect.Suite, a attacks.RedirectAttack, c *harness.Client) (registered, uri string) {
	from := c.RedirectURIs
	if a.Of == attacks.OtherClientsAddress {
		from = nil
		for i := range s.Target.Clients {
			from = append(from, s.Target.Clients[i].RedirectURIs...)
		}
	}
	for _, registered := range from {
		if uri := a.URI(registered); uri != "" && !slices.Contains(c.RedirectURIs, uri) {
			return registered, uri
		}
	}
	return "", ""
}

func redirect(s *expect.Suite, a attacks.RedirectAttack, at expect.Place, t *harness.Trial, send func(*harness.Trace, harness.AuthorizationRequest, string) harness.Outcome) {
	who := s.Honest(t.Client, t.Binding)
	via := harness.FrontChannelRequest
	if at.Endpoint == "par" {
		via = harness.PushedRequest
	}
	registered, uri := mutated(s, a, t.Client)
	s.It(a.Check, at, func(c *expect.Case) {
		honest := c.Proven(fmt.Sprint("authorization of ", t.Client.Name, via), func() harness.Outcome {
			return c.Authorize(harness.AuthorizationRequest{Who: who, Via: via})
		})
		answer := c.Between(honest, func() harness.Outcome {
			return send(c.Trace, harness.AuthorizationRequest{Who: who, Session: a.Session, Change: func(m *harness.Message, f harness.Facts) {
				if a.Send == nil {
					m.Params.Set("redirect_uri", uri)
				} else {
					a.Send(m, registered, uri)
				}
				if a.Client != nil {
					m.Params.Set("client_id", a.Client(t.Client.ClientID))
				}
				if m.Params.Get("client_id") == "" {
					m.Params.Drop("client_id")
				}
				if a.Change != nil {
					a.Change(m, f)
				}
			}}, uri)
		}, "the honest authorization request")
		if a.Mode == attacks.Accept {
			c.Expect(answer).To(expect.BeAccepted())
			c.Passes("it was served: %s", answer)
			for _, registered := range t.Client.RedirectURIs {
				if other := attacks.LocalhostURI(registered); other != "" {
					o := c.ToRedirect(harness.AuthorizationRequest{Who: who, Change: setting("redirect_uri", other)}, other)
					c.Measured("another port on localhost: %s", map[harness.State]string{harness.Granted: "accepted", harness.Refused: "refused", harness.Unknown: "not learned"}[o.State])
				}
			}
			return
		}
		c.Refuses(answer, a.Refusal)
	})
}

func frontChannel(s *expect.Suite) {
	f := attacks.FrontChannel()
	trial := anyCodeClient(s)
	authorize := expect.Place{Endpoint: "authorize"}
	if trial == nil {
		for _, check := range []attacks.Check{f.StateExact, f.StateInError, f.IssPresent, f.IssInError, f.RedirectAfterLogin, f.RedirectAfterConsent,
			f.ImplicitToken, f.HybridToken, f.PasswordGrant, f.AuthorizeCORS, f.ReferrerPolicy} {
			s.Skip(check, authorize, noCodeClient)
		}
		return
	}
	authorize.Client = trial.Client.Name
	who := s.Honest(trial.Client, trial.Binding)
	honest := func(c *expect.Case) func() harness.Outcome {
		return c.Proven("authorization of "+trial.Client.Name, func() harness.Outcome { return c.Authorize(harness.AuthorizationRequest{Who: who}) })
	}
	with := func(c *expect.Case, change harness.Change) func() harness.Outcome {
		return func() harness.Outcome { return c.Authorize(harness.AuthorizationRequest{Who: who, Change: change}) }
	}
	badScope := func(m *harness.Message, _ harness.Facts) { m.Params.Set("response_type", "popcheck-unknown") }

	s.It(f.StateExact, authorize, func(c *expect.Case) {
		const state = `popcheck & a=b %20 + # "quoted" <tag> end`
		c.Assume(honest(c)()).To(expect.BeAccepted(), "the honest authorization request")
		request := harness.AuthorizationRequest{Who: who, Change: func(m *harness.Message, _ harness.Facts) { m.Params.Set("state", state) }}
		ways := ""
		c.Attack(func() {
			ways = everyWay(c, request, func(way string, o harness.Outcome) {
				c.Expect(o).To(expect.BeAccepted())
				if got := o.Code.Response.Get("state"); got != state {
					c.Fails("%s, state came back as %q", way, got)
				}
			})
		})
		// Outside of the grammar (RFC 6749 §A.5), so that nothing is promised.
		const foreign = "popcheck-größer-漢字"
		switch o := with(c, func(m *harness.Message, _ harness.Facts) { m.Params.Set("state", foreign) })(); {
		case o.State != harness.Granted:
			c.Measured("a state that is not ASCII is refused")
		case o.Code.Response.Get("state") == foreign:
			c.Measured("a state that is not ASCII comes back as it was sent")
		default:
			c.Measured("a state that is not ASCII comes back as something else")
		}
		c.Assume(honest(c)()).To(expect.BeAccepted(), "the honest authorization request, again")
		c.Passes("state with every reserved character came back as it was sent: %s", ways)
	})
	s.It(f.StateInError, authorize, func(c *expect.Case) {
		o := c.Between(honest(c), with(c, badScope), "the honest authorization request")
		response := errorResponse(c, o)
		if response.Get("state") == "" {
			c.Fails("the error %s came back without state", response.Get("error"))
		}
		c.Passes("the error %s came back with state", response.Get("error"))
	})
	s.It(f.IssPresent, authorize, func(c *expect.Case) {
		c.Assume(honest(c)()).To(expect.BeAccepted(), "the honest authorization request")
		ways := everyWay(c, harness.AuthorizationRequest{Who: who}, func(way string, o harness.Outcome) {
			c.Assume(o).To(expect.BeAccepted(), way)
			if got := o.Code.Response.Get("iss"); got != c.Target.Issuer {
				c.Fails("%s, iss is %q, and the issuer is %q", way, got, c.Target.Issuer)
			}
		})
		for _, mode := range []string{"fragment", "form_post"} {
			if !slices.Contains(c.Metadata.Strings("response_modes_supported"), mode) {
				continue
			}
			o := with(c, setting("response_mode", mode))()
			if o.State != harness.Granted {
				continue // the client need not be registered for it
			}
			if got := o.Code.Response.Get("iss"); got != c.Target.Issuer {
				c.Fails("with response_mode=%s, iss is %q, and the issuer is %q", mode, got, c.Target.Issuer)
			}
			ways += ", with response_mode=" + mode
		}
		c.Passes("iss is the issuer: %s", ways)
	})
	s.It(f.IssInError, authorize, func(c *expect.Case) {
		o := c.Between(honest(c), with(c, badScope), "the honest authorization request")
		response := errorResponse(c, o)
		if got := response.Get("iss"); got != c.Target.Issuer {
			c.Fails("iss of an error response is %q, the issuer is %q", got, c.Target.Issuer)
		}
		c.Passes("iss is in the error response too")
	})
	afterForm := func(check attacks.Check, form string, through func(*expect.Case) harness.Consent) {
		s.It(check, authorize, func(c *expect.Case) {
			o := through(c)
			c.Assume(o.Outcome).To(expect.BeAccepted(), "a login in a new browser session")
			seen := 0
			for i, hop := range o.Code.Front.Hops {
				if hop.After != form {
					continue
				}
				seen = hop.Answer.Status
				if seen == 307 || seen == 308 {
					c.Fails("the answer to the %s is HTTP %d (hop %d): the browser sends the form on", form, seen, i+1)
				}
			}
			if seen == 0 {
				c.NotApplicable("%s", cmp.Or(unseen(o.Outcome), o.Why, "observed: no "+form+" was shown"))
			}
			c.Passes("the answer to the %s is HTTP %d%s", form, seen, o.How)
		})
	}
	afterForm(f.RedirectAfterLogin, harness.LoginForm, func(c *expect.Case) harness.Consent {
		return harness.Consent{Outcome: c.Authorize(harness.AuthorizationRequest{Who: who, Session: harness.NewSession})}
	})
	afterForm(f.RedirectAfterConsent, harness.ConsentForm, func(c *expect.Case) harness.Consent {
		o := c.Consenting(harness.AuthorizationRequest{Who: who})
		o.How = ": " + o.How
		return o
	})

	for _, row := range []struct {
		check attacks.Check
		value string
	}{{f.ImplicitToken, "token"}, {f.HybridToken, "code token"}} {
		s.It(row.check, authorize, func(c *expect.Case) {
			o := c.Between(honest(c), with(c, func(m *harness.Message, _ harness.Facts) { m.Params.Set("response_type", row.value) }), "the honest authorization request")
			if o.State == harness.Granted && o.Code != nil && o.Code.Response.Get("access_token") == "" && o.Code.Response.Get("code") != "" {
				c.Warns("response_type=%q was answered as if it were code", row.value)
				return
			}
			c.Refuses(o, row.check.Refusal)
		})
	}

	s.It(f.PasswordGrant, expect.Place{Endpoint: "token", Grant: "password", Client: trial.Client.Name}, func(c *expect.Case) {
		user := c.LastUser()
		o := c.Between(func() harness.Outcome { return c.Obtained(who, harness.CodeGrant) }, func() harness.Outcome {
			params := harness.Params{{Name: "grant_type", Value: "password"}, {Name: "username", Value: user.Username}, {Name: "password", Value: user.Password}}
			if trial.Client.Scope != "" {
				params.Add("scope", trial.Client.Scope)
			}
			return c.Loot(c.Token(harness.TokenRequest{Who: who, Step: "password grant", Params: params}), harness.CodeGrant)
		}, "the honest flow")
		c.Refuses(o, f.PasswordGrant.Refusal)
	})

	s.It(f.AuthorizeCORS, authorize, func(c *expect.Case) {
		const foreign = "https://attacker.example"
		o := c.Between(honest(c), func() harness.Outcome { return c.FirstPage(who, "GET", harness.Field{Name: "Origin", Value: foreign}) }, "the honest authorization request")
		if o.State == harness.Unknown {
			c.Unlearned("%s", o)
		}
		switch allowed := o.Answer.Header.Get("Access-Control-Allow-Origin"); {
		case allowed == "*" || allowed == foreign:
			c.Fails("the authorization endpoint answers a foreign origin with Access-Control-Allow-Origin: %s", allowed)
		case allowed != "":
			c.Warns("the authorization endpoint takes part in CORS: Access-Control-Allow-Origin: %s", allowed)
		default:
			c.Passes("no Access-Control-Allow-Origin came with the answer to a foreign origin")
		}
	})
	s.It(f.ReferrerPolicy, authorize, func(c *expect.Case) {
		o := c.Authorize(harness.AuthorizationRequest{Who: who, Session: harness.NewSession})
		c.Assume(o).To(expect.BeAccepted(), "a login in a new browser session")
		if why := unseen(o); why != "" {
			c.NotApplicable("%s", why)
		}
		pages, leaky := 0, ""
		var loaded, linked []string
		for _, page := range append(o.Code.Front.Pages(), c.Authorize(harness.AuthorizationRequest{Who: who, Change: setting("client_id", "popcheck-no-such-client")}).PagesOf()...) {
			pages++
			if why := harness.LeaksReferrer(page.Answer); why != "" {
				leaky = why
			}
			loads, links := harness.ThirdParties(page.Answer)
			loaded, linked = append(loaded, loads...), append(linked, links...)
		}
		if len(loaded)+len(linked) > 0 {
			c.Measured("loads from %q, links to %q", slices.Compact(slices.Sorted(slices.Values(loaded))), slices.Compact(slices.Sorted(slices.Values(linked))))
		}
		switch {
		case pages == 0:
			c.NotApplicable("observed: no page was shown")
		case leaky != "":
			c.Fails("a page of the authorization endpoint %s", leaky)
		}
		c.Passes("%d pages tell no third party their address", pages)
	})
}

// everyWay looks at the response to an authorization request with the session that is kept, after a login and after a consent: the
// pages of a server may make their responses each on their own. It returns the ways that there were.
func everyWay(c *expect.Case, q harness.AuthorizationRequest, look func(way string, o harness.Outcome)) string {
	ways := []string{"in a session"}
	look(ways[0], c.Authorize(q))
	q.Session = harness.NewSession
	if o := c.Authorize(q); o.State != harness.Granted || o.Code.Front.Showed(harness.LoginForm) {
		ways = append(ways, "after the login form")
		look("after the login form", o)
	}
	q.Session = harness.KeptSession
	if consent := c.Consenting(q); consent.How != "" {
		ways = append(ways, "after the consent form")
		look("after the consent form", consent.Outcome)
	}
	return strings.Join(ways, ", ")
}

// errorResponse is what came back with an error redirect; a page says nothing about the redirect.
func errorResponse(c *expect.Case, o harness.Outcome) url.Values {
	if o.State == harness.Granted {
		c.NotApplicable("observed: a request with an unknown response_type is served")
	}
	c.Expect(o).To(expect.BeRefused())
	if o.Where != harness.InRedirect || o.Code == nil {
		c.NotApplicable("observed: errors are shown on a page, not by redirect (%s)", o)
	}
	return o.Code.Response
}

// codeReuse watches what becomes of the tokens when their code comes again (RFC 6749 §4.1.2).
func codeReuse(s *expect.Suite) {
	f := attacks.FrontChannel()
	for _, trial := range clientsOf(s, attacks.PublicAndConfidential) {
		who := s.Honest(trial.Client, trial.Binding)
		at := expect.Place{Endpoint: "token", Grant: harness.CodeGrant, Client: trial.Client.Name}
		s.It(f.CodeReplayAccessToken, at, func(c *expect.Case) {
			answer := reuse(c, who, nil, func(first harness.Outcome) harness.Outcome { return c.Alive(first.Token, harness.CodeGrant) })
			if answer.State == harness.Granted && answer.Token != nil && !strings.Contains(answer.Got, "introspection") {
				if _, jwt := answer.Token.Claims(); jwt {
					c.Measured("self-contained access tokens live on until they expire")
				}
			}
			c.Refuses(answer, f.CodeReplayAccessToken.Refusal)
		})
		if trial.Refresh == harness.No {
			s.Skip(f.CodeReplayRefreshToken, at, "observed: client "+trial.Client.Name+" gets no refresh token")
			continue
		}
		s.It(f.CodeReplayRefreshToken, at, func(c *expect.Case) {
			c.Assume(c.Obtained(who, harness.RefreshGrant)).To(expect.BeAccepted(), "the honest refresh")
			answer := reuse(c, who, nil, func(first harness.Outcome) harness.Outcome {
				return c.Loot(c.Refresh(first.Token, harness.TokenRequest{Who: who}), harness.RefreshGrant)
			})
			c.Refuses(answer, f.CodeReplayRefreshToken.Refusal)
		})
	}
}

// reuse redeems a code, proves its token, redeems the code again, with a change or as it was, and then uses what the first redemption brought.
func reuse(c *expect.Case, who harness.Identity, again harness.Change, use func(first harness.Outcome) harness.Outcome) harness.Outcome {
	honest := func() harness.Outcome { return c.Obtained(who, harness.CodeGrant) }
	return c.Between(honest, func() harness.Outcome {
		o := c.Authorize(harness.AuthorizationRequest{Who: who})
		if o.State != harness.Granted {
			return harness.Outcome{At: o.At, Why: "the preparation was refused: " + o.String()}
		}
		first := c.Redeem(o.Code, harness.TokenRequest{Who: who})
		if first.State != harness.Granted {
			return harness.Outcome{At: first.At, Why: "the first redemption was refused: " + first.String()}
		}
		if spent := c.Spend(first.Token, harness.CodeGrant); spent.State != harness.Granted {
			return harness.Outcome{At: spent.At, Why: "the token did not work before the reuse: " + spent.String()}
		}
		if again := c.Redeem(o.Code, harness.TokenRequest{Who: who, Change: again}); again.State == harness.Unknown {
			return again
		}
		return use(first)
	}, "the honest flow")
}
