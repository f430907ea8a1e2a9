package pkce

import (
	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/harness/expect"
)

// management are the checks of RFC 7592: who may look at a client, change and remove it.
func management(s *expect.Suite, k attacks.RegistrationChecks, anyone, machine *harness.Client) {
	for _, row := range []struct {
		check  attacks.Check
		method string
		token  func(other *harness.Registered) string
	}{
		{k.TokenOfOther, "GET", func(other *harness.Registered) string { return other.Token }},
		{k.NoManagementToken, "GET", func(*harness.Registered) string { return "" }},
		{k.RandomToken, "GET", func(*harness.Registered) string { return harness.Random(24) }},
		{k.RemovalByOther, "DELETE", func(other *harness.Registered) string { return other.Token }},
	} {
		s.Registering(row.check, anyone, noClient, func(c *expect.Case, like *harness.Client) {
			victim, other := managed(c, like), managed(c, like)
			defer c.GiveUp(victim)
			defer c.GiveUp(other)
			read := func() harness.Outcome {
				return c.Configure(harness.ConfigurationRequest{Method: "GET", Of: victim})
			}
			c.Assume(read()).To(expect.BeAccepted(), "the client with its own registration token")
			token := row.token(other)
			var answer harness.Outcome
			c.Attack(func() {
				answer = c.Configure(harness.ConfigurationRequest{Method: row.method, Of: victim, Token: &token})
			})
			c.Expect(answer).To(expect.BeRefused())
			c.Assume(read()).To(expect.BeAccepted(), "the client with its own registration token, again")
			c.Refuses(answer, row.check.Refusal)
		})
	}
	s.Registering(k.ChosenSecret, machine, noMachine, chosenSecret)
	s.Registering(k.Removed, anyone, noClient, removed)
	s.Registering(k.OldToken, anyone, noClient, func(c *expect.Case, like *harness.Client) {
		r := managed(c, like)
		c.Assume(c.Configure(harness.ConfigurationRequest{Method: "GET", Of: r})).To(expect.BeAccepted(), "the client with its registration token")
		removal(c, r)
		var answer harness.Outcome
		c.Attack(func() { answer = c.Configure(harness.ConfigurationRequest{Method: "GET", Of: r}) })
		c.Assume(c.HonestRegistration(like)()).To(expect.BeAccepted(), "an honest registration")
		c.Refuses(answer, k.OldToken.Refusal)
	})
}

// managed is a client that the server lets its owner manage.
func managed(c *expect.Case, like *harness.Client) *harness.Registered {
	r := c.Given(like)
	if !r.Managed() {
		c.NotApplicable("observed: a registration brings no registration_client_uri with a registration_access_token")
	}
	return r
}

// removal removes a client, where the server does that (RFC 7592 §2.3: it may answer 405).
func removal(c *expect.Case, r *harness.Registered) harness.Outcome {
	o := c.Configure(harness.ConfigurationRequest{Method: "DELETE", Of: r})
	if o.State == harness.Refused && (o.Status == 403 || o.Status == 405 || o.Status == 501) {
		c.NotApplicable("observed: the server removes no clients (%s)", o)
	}
	c.Assume(o).To(expect.BeAccepted(), "the removal of a client")
	return o
}

func removed(c *expect.Case, like *harness.Client) {
	obtained := func(r *harness.Registered) harness.Outcome { return c.Obtain(c.Held(r), expect.GrantOf(r.Client)) }
	r := managed(c, like)
	c.Assume(obtained(r)).To(expect.BeAccepted(), "a token of the client before its removal")
	removal := removal(c, r)
	var answer harness.Outcome
	c.Attack(func() { answer = c.Loot(obtained(r), expect.GrantOf(r.Client)) })
	c.Expect(answer).To(expect.BeRefused())
	again := managed(c, like)
	defer c.GiveUp(again)
	c.Assume(obtained(again)).To(expect.BeAccepted(), "a token of another client")
	c.Refuses(answer, c.Check.Refusal)
	if removal.Status != 204 {
		c.Warns("the removal was answered with HTTP %d; the clause asks for 204", removal.Status)
	}
}

// chosenSecret updates a client with a secret that it did not get from the server, and then uses it.
func chosenSecret(c *expect.Case, like *harness.Client) {
	r := managed(c, like)
	defer c.GiveUp(r)
	honest := func() harness.Outcome { return c.Configure(harness.ConfigurationRequest{Method: "PUT", Of: r}) }
	chosen := harness.Random(24)
	c.Redactor.Register("client_secret", chosen)
	answer := c.Between(honest, func() harness.Outcome {
		return c.Configure(harness.ConfigurationRequest{Method: "PUT", Of: r, Change: member("client_secret", chosen)})
	}, "an update that changes nothing")
	if answer.State != harness.Granted {
		c.Refuses(answer, c.Check.Refusal)
		return
	}
	client := *r.Client
	client.ClientSecret = chosen
	who := c.Held(r)
	who.Client = &client
	var token harness.Outcome
	c.Attack(func() { token = c.Loot(c.Obtain(who, expect.GrantOf(r.Client)), expect.GrantOf(r.Client)) })
	c.Expect(token).To(expect.BeRefused())
	c.Warns("the update was taken, and the secret is not in force (%s)", token)
}
