package pkce

import (
	"slices"

	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/harness/expect"
)

const (
	noClient  = "client that could be registered once more: with client credentials and a secret, or with the code flow"
	noMachine = "client with client credentials and a secret, like which others could be registered"
	noCode    = "client of the code flow, like which others could be registered"
)

// registrations are the checks of RFC 7591 and RFC 7592 that are about no one mechanism. Each removes what it registers.
func registrations(s *expect.Suite) {
	k := attacks.Registrations()
	anyone, machine, code := s.Template(expect.Machine, expect.WithCode), s.Template(expect.Machine), s.Template(expect.WithCode)
	for _, a := range attacks.RedirectRegistrations() {
		s.Registering(a.Check, code, noCode, func(c *expect.Case, like *harness.Client) { unsafeRedirect(c, a, like) })
	}
	for _, a := range attacks.StatementAttacks() {
		if a.Signs && s.Missing(a.Check) == "" && !s.HoldsStatementKey() {
			s.Skip(a.Check, expect.RegisterPlace(), "declared: the software statement was given, and its issuer's key was not")
			continue
		}
		s.Registering(a.Check, anyone, noClient, func(c *expect.Case, like *harness.Client) { badStatement(c, a, like) })
	}
	s.Registering(k.Answer, anyone, noClient, func(c *expect.Case, like *harness.Client) { registrationAnswer(c, like) })
	s.Registering(k.Twice, anyone, noClient, func(c *expect.Case, like *harness.Client) { registeredTwice(c, like) })
	s.Registering(k.UnknownMember, anyone, noClient, func(c *expect.Case, like *harness.Client) {
		answer := c.Between(c.HonestRegistration(like), func() harness.Outcome {
			o := c.Register(harness.RegistrationRequest{Like: like, Beside: member("popcheck_unknown_member", "x")})
			c.GiveUp(o.Registered)
			return o
		}, "an honest registration")
		c.Expect(answer).To(expect.BeAccepted())
		c.Passes("a member that nobody knows was ignored")
	})
	initialTokens(s, k, anyone)
	s.Registering(k.PublicMachine, anyone, noClient, publicMachine)
	s.Registering(k.TakenID, anyone, noClient, takenID)
	s.Registering(k.StatementWins, code, noCode, statementWins)
	s.Registering(k.NoStatement, anyone, noClient, func(c *expect.Case, like *harness.Client) {
		answer := c.Between(c.HonestRegistration(like), func() harness.Outcome { return registered(c, like, leaveOut("software_statement")) }, "an honest registration")
		c.Refuses(answer, k.NoStatement.Refusal)
	})
	if s.Missing(k.StatementAgain) == "" && !s.HoldsStatementKey() {
		s.Skip(k.StatementAgain, expect.RegisterPlace(), "declared: the software statement was given, and goes with every registration")
	} else {
		s.Registering(k.StatementAgain, anyone, noClient, statementAgain)
	}
	management(s, k, anyone, machine)
}

// registered registers a client with a change, and removes it at once.
func registered(c *expect.Case, like *harness.Client, change harness.MembersChange) harness.Outcome {
	o := c.Register(harness.RegistrationRequest{Like: like, Beside: change})
	c.GiveUp(o.Registered)
	return o
}

func member(name string, value any) harness.MembersChange {
	return func(m *harness.Object) { m.Set(name, value) }
}

func leaveOut(name string) harness.MembersChange {
	return func(m *harness.Object) { m.Drop(name) }
}

// unsafeRedirect registers a redirect URI beside honest ones. One that is registered counts when a code goes there.
func unsafeRedirect(c *expect.Case, a attacks.RedirectRegistration, like *harness.Client) {
	uris := append(slices.Clone(like.RedirectURIs), a.URI)
	answer := c.Between(c.HonestRegistration(like), func() harness.Outcome {
		return c.Register(harness.RegistrationRequest{Like: like, Change: member("redirect_uris", uris)})
	}, "an honest registration")
	if answer.State != harness.Granted {
		c.Refuses(answer, a.Refusal)
		return
	}
	defer c.GiveUp(answer.Registered)
	if listed := answer.Registered.Strings("redirect_uris"); len(listed) > 0 && !slices.Contains(listed, a.URI) {
		c.Warns("the client was registered without this redirect_uri; the clause asks for %s", a.Refusal)
		return
	}
	goesTo(c, answer.Registered, like.RedirectURIs[0], a.Ask)
}

// goesTo fails when a code goes to an address, and warns when the address is registered and of no use.
func goesTo(c *expect.Case, r *harness.Registered, honest, uri string) {
	ask := func(uri string) harness.Outcome {
		client := *r.Client
		client.RedirectURIs = []string{uri}
		who := c.Held(r)
		who.Client = &client
		return c.Authorize(harness.AuthorizationRequest{Who: who})
	}
	c.Assume(ask(honest)).To(expect.BeAccepted(), "an authorization of the registered client")
	var answer harness.Outcome
	c.Attack(func() { answer = ask(uri) })
	if answer.State == harness.Granted {
		answer.Got = "a code went to " + uri
	}
	c.Expect(answer).To(expect.BeRefused())
	c.Warns("the redirect_uri was registered, and is not in force: its authorization was refused (%s)", answer)
}

// badStatement registers with a statement that must not be believed. What was registered counts where the statement was believed: where
// nobody is registered without one, or where its redirect URIs are in force.
func badStatement(c *expect.Case, a attacks.StatementAttack, like *harness.Client) {
	send := func(change harness.MembersChange) harness.Outcome {
		o := c.Register(harness.RegistrationRequest{Like: like, Statement: a.Change, Beside: change})
		c.GiveUp(o.Registered)
		return o
	}
	answer := c.Between(c.HonestRegistration(like), func() harness.Outcome { return send(nil) }, "a registration with an honest software statement")
	if answer.State != harness.Granted {
		c.Refuses(answer, a.Refusal)
		return
	}
	bare := registered(c, like, leaveOut("software_statement"))
	if bare.State == harness.Refused {
		c.Fails("the attack worked: a client was registered on the word of this statement; without a statement none is (%s)", bare)
	}
	lean := send(leaveOut("redirect_uris"))
	if lean.State == harness.Granted && len(lean.Registered.Strings("redirect_uris")) > 0 {
		c.Fails("the attack worked: a client was registered with the redirect_uris of this statement")
	}
	c.Warns("the client was registered, and no value of the statement is in force; the clause asks for %s", a.Refusal)
}

// statementAgain sends the statement of one client for another.
func statementAgain(c *expect.Case, like *harness.Client) {
	var compact string
	first := c.Register(harness.RegistrationRequest{Like: like, Statement: func(a *harness.Assertion) {
		a.Spell = func(input, signature string) string { compact = input + "." + signature; return compact }
	}})
	c.Assume(first).To(expect.BeAccepted(), "an honest registration")
	defer c.GiveUp(first.Registered)
	var answer harness.Outcome
	c.Attack(func() {
		answer = c.Register(harness.RegistrationRequest{Like: like, Statement: func(a *harness.Assertion) { a.Verbatim(compact) }})
	})
	defer c.GiveUp(answer.Registered)
	c.Assume(c.HonestRegistration(like)()).To(expect.BeAccepted(), "an honest registration, again")
	switch answer.State {
	case harness.Granted:
		c.Measured("a software statement registers several clients")
	case harness.Refused:
		c.Measured("a software statement registers one client (%s)", answer)
	default:
		c.Expect(answer).To(expect.BeAccepted())
	}
	c.Passes("both answers are sound")
}

func registrationAnswer(c *expect.Case, like *harness.Client) {
	o := c.Register(harness.RegistrationRequest{Like: like})
	c.Assume(o).To(expect.BeAccepted(), "an honest registration")
	defer c.GiveUp(o.Registered)
	members := o.Registered.Members
	if _, there := members["client_secret_expires_at"]; o.Registered.Client.ClientSecret != "" && !there {
		c.Fails("a client_secret came without client_secret_expires_at")
	}
	for _, name := range []string{"token_endpoint_auth_method", "grant_types"} {
		if _, there := members[name]; !there {
			c.Warns("the answer does not say which %s is registered", name)
		}
	}
	if o.Status != 201 {
		c.Warns("the status was %d; the clause asks for 201", o.Status)
	}
}

func registeredTwice(c *expect.Case, like *harness.Client) {
	first, second := c.Given(like), c.Given(like)
	defer c.GiveUp(first)
	defer c.GiveUp(second)
	switch a, b := first.Client, second.Client; {
	case a.ClientID == b.ClientID:
		c.Fails("two registrations got one client_id")
	case a.ClientSecret != "" && a.ClientSecret == b.ClientSecret:
		c.Fails("two clients got one client_secret")
	case first.Token != "" && first.Token == second.Token:
		c.Fails("two clients got one registration_access_token")
	}
	c.Passes("two registrations got identifiers and secrets of their own")
}

// initialTokens are about who may register. Registration that is open to all gives nothing away.
func initialTokens(s *expect.Suite, k attacks.RegistrationChecks, like *harness.Client) {
	with := func(c *expect.Case, like *harness.Client, token string) harness.Outcome {
		o := c.Register(harness.RegistrationRequest{Like: like, Token: &token})
		c.GiveUp(o.Registered)
		return o
	}
	s.Registering(k.NoToken, like, noClient, func(c *expect.Case, like *harness.Client) {
		c.Refuses(c.Between(c.HonestRegistration(like), func() harness.Outcome { return with(c, like, "") }, "an honest registration"), k.NoToken.Refusal)
	})
	s.Registering(k.UnknownToken, like, noClient, func(c *expect.Case, like *harness.Client) {
		answer := c.Between(c.HonestRegistration(like), func() harness.Outcome { return with(c, like, harness.Random(24)) }, "an honest registration")
		if answer.State == harness.Granted && with(c, like, "").State == harness.Granted {
			c.NotApplicable("observed: registration is open to all")
		}
		c.Refuses(answer, k.UnknownToken.Refusal)
	})
}

func publicMachine(c *expect.Case, like *harness.Client) {
	public := *like
	public.TokenEndpointAuthMethod, public.GrantTypes, public.RedirectURIs = "none", []string{harness.ClientCredentialsGrant}, nil
	answer := c.Between(c.HonestRegistration(like), func() harness.Outcome { return c.Register(harness.RegistrationRequest{Like: &public}) }, "an honest registration")
	if answer.State != harness.Granted {
		c.Refuses(answer, c.Check.Refusal)
		return
	}
	defer c.GiveUp(answer.Registered)
	if method, _ := answer.Registered.Members["token_endpoint_auth_method"].(string); method != "none" && method != "" {
		if c.Learned.Has("ssa") == harness.Yes && !c.HoldsStatementKey() {
			c.NotApplicable("observed: the client was registered with %s, as its given software statement may say", method)
		}
		c.Warns("the client was registered with %s instead of none", method)
		return
	}
	if grants := answer.Registered.Strings("grant_types"); len(grants) > 0 && !slices.Contains(grants, harness.ClientCredentialsGrant) {
		c.Warns("the client was registered without client_credentials")
		return
	}
	var token harness.Outcome
	c.Attack(func() {
		token = c.Loot(c.ClientCredentials(harness.TokenRequest{Who: c.Held(answer.Registered)}), harness.ClientCredentialsGrant)
	})
	c.Expect(token).To(expect.BeRefused())
	c.Warns("the client was registered, and gets no token (%s)", token)
}

// takenID asks for the client_id of a client that popcheck has registered for this: what is taken over is nobody else's.
func takenID(c *expect.Case, like *harness.Client) {
	victim := c.Given(like)
	defer c.GiveUp(victim)
	id := victim.Client.ClientID
	answer := c.Between(c.HonestRegistration(like), func() harness.Outcome {
		return c.Register(harness.RegistrationRequest{Like: like, Beside: member("client_id", id)})
	}, "an honest registration")
	if answer.State != harness.Granted {
		c.Refuses(answer, c.Check.Refusal)
		return
	}
	defer c.GiveUp(answer.Registered)
	second := answer.Registered.Client
	if second.ClientID != id {
		c.Passes("the client_id that was asked for is not in force: the server chose another")
		return
	}
	if !expect.Machine(like) || second.ClientSecret == "" || second.ClientSecret == victim.Client.ClientSecret {
		c.Fails("the attack worked: a second client was registered under the client_id of the first")
		return
	}
	var token harness.Outcome // an answer may repeat what was asked for, and mean another client
	c.Attack(func() {
		token = c.Loot(c.ClientCredentials(harness.TokenRequest{Who: c.Held(answer.Registered)}), harness.ClientCredentialsGrant)
	})
	c.Expect(token).To(expect.BeRefused())
	c.Assume(c.ClientCredentials(harness.TokenRequest{Who: c.Held(victim)})).To(expect.BeAccepted(), "the first client, still")
	c.Warns("the answer names the client_id of the first, and its secret is not in force there (%s)", token)
}

// statementWins sends a redirect URI that the statement does not have.
func statementWins(c *expect.Case, like *harness.Client) {
	answer := c.Between(c.HonestRegistration(like), func() harness.Outcome {
		return c.Register(harness.RegistrationRequest{Like: like, Beside: member("redirect_uris", []string{attacks.PlainRedirect})})
	}, "an honest registration")
	if answer.State == harness.Refused {
		c.Warns("refused (%s); the clause wants the statement's values registered", answer)
		return
	}
	c.Expect(answer).To(expect.BeAccepted())
	defer c.GiveUp(answer.Registered)
	if listed := answer.Registered.Strings("redirect_uris"); len(listed) > 0 && !slices.Contains(listed, attacks.PlainRedirect) {
		c.Passes("the redirect_uris of the statement are registered")
		return
	}
	client := *answer.Registered.Client
	client.RedirectURIs = []string{attacks.PlainRedirect}
	who := c.Held(answer.Registered)
	who.Client = &client
	var code harness.Outcome
	c.Attack(func() { code = c.Authorize(harness.AuthorizationRequest{Who: who}) })
	if code.State == harness.Granted {
		code.Got = "a code went to a redirect_uri that the software statement does not have"
	}
	c.Expect(code).To(expect.BeRefused())
}
