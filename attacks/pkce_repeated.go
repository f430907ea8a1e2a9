package attacks

import "github.com/popcheck/popcheck/harness"

// RepeatedAttack is an authorization request in which a parameter of PKCE comes twice, with different values (RFC 6749 §3.1). A server
// may refuse it. One that picks a value and enforces it is lenient; both values at once, or none, or one that it refuses when it comes
// alone, are the attacker's win. Facts.Other holds a pair of the attacker's own.
type RepeatedAttack struct {
	Check
	Authorize []harness.Change // in each order
	Redeem    []harness.Change // redemptions that fit no value
	Values    []RepeatedValue
}

// RepeatedValue is one of the values; the redemption that it lets through tells that it counted.
type RepeatedValue struct {
	Name   string
	Alone  harness.Change // the authorization request with this value only
	Redeem harness.Change
}

// Repeats are the attacks with repeated parameters of an authorization request.
func Repeats() []RepeatedAttack {
	check := func(id, name, covers, why string) Check {
		return Check{ID: id, Title: "refuses an authorization request with " + name + " twice", Clause: rfc6749("3.1"), Level: harness.Must, Severity: harness.Medium,
			Threat: harness.Downgrade, Refusal: badRequestAnywhere(), Covers: covers, Why: why, Fix: "answer a repeated parameter with invalid_request"}
	}
	attackers := func(f harness.Facts) string { return f.Other.PKCE.Challenge }
	asked := func(f harness.Facts) string { return f.PKCE.Challenge }
	plain := set("code_challenge_method", "plain")
	unfit := []harness.Change{setTo("code_verifier", wrongVerifier), drop("code_verifier")}
	return []RepeatedAttack{
		{Check: check("pkce-challenge-twice", "code_challenge", "PKCE-AS-14.1", "a list of challenges is compared otherwise than one, or not at all: "+intercepted),
			Authorize: []harness.Change{addTo("code_challenge", attackers), all(setTo("code_challenge", attackers), addTo("code_challenge", asked))},
			Redeem:    unfit,
			Values: []RepeatedValue{
				{"the client's challenge", nothing, nothing},
				{"the attacker's challenge", setTo("code_challenge", attackers), setTo("code_verifier", func(f harness.Facts) string { return f.Other.PKCE.Verifier })},
			}},
		{Check: check("pkce-method-twice", "code_challenge_method", "PKCE-AS-14.2", "the method that is checked is not the one that is used: "+intercepted),
			Authorize: []harness.Change{addTo("code_challenge_method", func(harness.Facts) string { return "plain" }),
				all(plain, addTo("code_challenge_method", func(harness.Facts) string { return "S256" }))},
			Redeem: unfit,
			Values: []RepeatedValue{
				{"S256", nothing, nothing},
				{"plain", plain, setTo("code_verifier", asked)},
			}},
	}
}
