package harness

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// Clock is how checks wait for minutes. A test replaces it by one that ages its target instead.
type Clock interface {
	Now() time.Time
	Sleep(ctx context.Context, d time.Duration)
}

// WallClock waits as long as it says.
type WallClock struct{}

// Now is the time of day.
func (WallClock) Now() time.Time { return time.Now() }

// Sleep returns after d, or when ctx ends.
func (WallClock) Sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// Aged is honest material that was made once, before the first check, for the checks that need it old: while the others run it
// grows old, and they wait only for what remains (design §8).
type Aged struct {
	Made   time.Time
	Code   *Authorization // nil: WhyNot says why there is none
	Second *Authorization // another one of the same client, for a check that tries it earlier
	Trial  *Trial         // whose code it is
	WhyNot string
	Tokens []AgedToken
	Pushed []AgedRequest     // of one client, since each works once; empty: no request could be pushed
	nonces map[string]string // the latest by server, when the material was made
}

// AgedToken is an access token that opened a resource when it was new.
type AgedToken struct {
	*Token
	Trial    *Trial
	Resource *Resource
	Opened   Outcome
	Made     time.Time
	Lifetime time.Duration // 0: the server does not say
}

// agedRequests are pushed for the check that waits: one is used soon after its end, the other a few minutes later.
const agedRequests = 2

// AgedRequest is a pushed authorization request that nobody has used.
type AgedRequest struct {
	RequestURI string
	Trial      *Trial
	Made       time.Time
	Lifetime   time.Duration // 0: the server does not say
}

// Of is the token for a resource; nil when no client got one.
func (a *Aged) Of(r *Resource) *AgedToken {
	if i := slices.IndexFunc(a.Tokens, func(t AgedToken) bool { return t.Resource.Name == r.Name }); i >= 0 {
		return &a.Tokens[i]
	}
	return nil
}

// Age makes the material of the checks that wait. Only a run that may wait calls it, after Learn.
func (t *Tester) Age(ctx context.Context) {
	tr := t.Trace(ctx, "material that is to grow old")
	a := &Aged{Made: t.Clock.Now(), WhyNot: "no client gets a code", nonces: t.nonces.all()}
	t.Aged = a
	for i := range t.Learned.Trials {
		trial := &t.Learned.Trials[i]
		who := t.Honest(trial.Client, trial.Binding)
		if trial.Works != Yes {
			continue
		}
		if a.Code == nil && trial.Grant == CodeGrant {
			if o := tr.Authorize(AuthorizationRequest{Who: who}); o.State == Granted {
				a.Code, a.Trial = o.Code, trial
				a.Second = tr.Authorize(AuthorizationRequest{Who: who}).Code
			} else {
				a.WhyNot = o.String()
			}
		}
		if len(a.Pushed) == 0 && trial.Grant == CodeGrant && t.Metadata.Has("pushed_authorization_request_endpoint") {
			for range agedRequests {
				made := t.Clock.Now()
				if o := tr.Push(AuthorizationRequest{Who: who}); o.State == Granted {
					a.Pushed = append(a.Pushed, AgedRequest{RequestURI: o.RequestURI, Trial: trial, Made: made, Lifetime: o.Lifetime()})
				}
			}
		}
		for _, r := range t.ResourcesFor(trial.Client, trial.Grant) {
			if a.Of(r) != nil || !trial.Opened(r) && r.Indicator == "" {
				continue
			}
			made := t.Clock.Now()
			if o := tr.ObtainFor(who, trial.Grant, r, ""); o.State == Granted {
				opened := tr.Call(ResourceCall{Who: who, Token: o.Token.AccessToken, Resource: r, Scheme: spendScheme(o.Token)})
				a.Tokens = append(a.Tokens, AgedToken{Token: o.Token, Trial: trial, Resource: r, Opened: opened, Made: made, Lifetime: o.Token.Lifetime()})
			}
		}
	}
}

// Lifetime is how long the server says that a new access token lives (RFC 6749 §5.1, or the exp of a JWT); 0 when it does not.
func (t *Token) Lifetime() time.Duration {
	longest := t.Announced()
	if claims, ok := t.Claims(); ok {
		if exp, ok := claims["exp"].(float64); ok && exp < 1e11 {
			longest = max(longest, time.Until(time.Unix(int64(exp), 0)))
		}
	}
	return longest
}

// Lifetime is how long the server says that a pushed request lives (RFC 9126 §2.2); 0 when it does not.
func (o Outcome) Lifetime() time.Duration {
	var body Token
	if o.Answer == nil || json.Unmarshal(o.Answer.Body, &body) != nil {
		return 0
	}
	return body.Lifetime()
}

// Announced is the expires_in of the token response; 0 when it has none.
func (t *Token) Announced() time.Duration {
	text := string(t.ExpiresIn)
	if unquoted, err := strconv.Unquote(text); err == nil {
		text = unquoted // not allowed, and seen
	}
	if seconds, err := strconv.ParseFloat(text, 64); err == nil && seconds > 0 && seconds < 1e9 {
		return time.Duration(seconds * float64(time.Second))
	}
	return 0
}

// Nonce is one that the server at an address handed out before the first check; "" when it had handed out none.
func (a *Aged) Nonce(address string) string { return a.nonces[originOf(address)] }

// WaitUntil returns when a moment of the run's clock has come. The error says that the run ended before.
func (tr *Trace) WaitUntil(at time.Time) error {
	if d := at.Sub(tr.Clock.Now()); d > 0 && tr.Stopped() == "" {
		if tr.Waits != nil {
			tr.Waits(d, "for what was made before the first check to grow old")
		}
		ctx, cancel := context.WithCancel(tr.ctx)
		defer cancel()
		defer context.AfterFunc(tr.ended, cancel)()
		tr.Clock.Sleep(ctx, d)
	}
	if why := tr.Stopped(); why != "" {
		return fmt.Errorf("the wait ended early: %s", why)
	}
	return tr.ctx.Err()
}
