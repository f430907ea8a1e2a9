package harness

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"
)

// Object is a JSON object whose members keep their order and may repeat: malformed JWTs are assembled by
// hand, because a JOSE library rightly refuses to make them.
type Object []ObjectMember

// ObjectMember is one member; Value is anything that encoding/json can marshal.
type ObjectMember struct {
	Name  string
	Value any
}

// Set replaces the first member of that name, or appends one.
func (o *Object) Set(name string, value any) {
	for i := range *o {
		if (*o)[i].Name == name {
			(*o)[i].Value = value
			return
		}
	}
	*o = append(*o, ObjectMember{name, value})
}

// Drop removes every member of that name.
func (o *Object) Drop(name string) {
	*o = slices.DeleteFunc(*o, func(m ObjectMember) bool { return m.Name == name })
}

// Get returns the first member of that name, or nil.
func (o Object) Get(name string) any {
	for _, m := range o {
		if m.Name == name {
			return m.Value
		}
	}
	return nil
}

// MarshalJSON keeps order and repetitions.
func (o Object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		name, err := json.Marshal(m.Name)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(m.Value)
		if err != nil {
			return nil, err
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

func (o Object) clone() Object {
	out := slices.Clone(o)
	for i, m := range out {
		if inner, ok := m.Value.(Object); ok {
			out[i].Value = inner.clone()
		}
	}
	return out
}

// signedJWT is a JWT before it is spelt. Honest ones are assembled by hand too, so that control and attack differ in nothing but
// the change. A nil function means the honest way.
type signedJWT struct {
	Header, Claims Object
	Key            *Key                                 // signs
	Sign           func(input string) ([]byte, error)   // instead of Key
	Spell          func(input, signature string) string // instead of input + "." + signature
	verbatim       string                               // a captured JWT, sent as it is
	pinned         bool                                 // made from a captured one, and not made anew for a nonce
	altered        []string                             // changes outside the members, for the record
}

// Altered records a change that is not one of a member: "signature", "form".
func (j *signedJWT) Altered(what string) { j.altered = append(j.altered, what) }

// Verbatim sends a captured JWT, byte for byte; it is never rebuilt, also not for a nonce.
func (j *signedJWT) Verbatim(compact string) {
	j.verbatim = compact
	j.Altered("the whole value, replayed")
}

// Pin makes the JWT one that is sent as it was made, also when a nonce is asked for: that is an answer to the attack.
func (j *signedJWT) Pin(what string) {
	j.pinned = true
	j.Altered(what)
}

func (j signedJWT) clone() signedJWT {
	j.Header, j.Claims = j.Header.clone(), j.Claims.clone()
	return j
}

// compact spells the JWT.
func (j *signedJWT) compact() (string, error) {
	if j.verbatim != "" {
		return j.verbatim, nil
	}
	h, err := encodeSegment(j.Header)
	if err != nil {
		return "", err
	}
	c, err := encodeSegment(j.Claims)
	if err != nil {
		return "", err
	}
	input, sign := h+"."+c, j.Sign
	if sign == nil {
		sign = j.Key.Sign
	}
	raw, err := sign(input)
	if err != nil {
		return "", err
	}
	signature := base64.RawURLEncoding.EncodeToString(raw)
	if j.Spell != nil {
		return j.Spell(input, signature), nil
	}
	return input + "." + signature, nil
}

// evidence shows the members, marked with what a change did to them, and names the changes in the words of evidence: "DPoP htu".
// name is what is shown, prefix how its changes are called.
func (j *signedJWT) evidence(honest signedJWT, name, prefix string) (Decoded, []string) {
	shown, changed := Decoded{Name: name}, []string(nil)
	if j.verbatim == "" {
		shown.Header, shown.Claims = compareMembers(honest.Header, j.Header), compareMembers(honest.Claims, j.Claims)
		for _, m := range slices.Concat(shown.Header, shown.Claims) {
			if m.Change != "" {
				changed = append(changed, prefix+" "+m.Name)
			}
		}
	} else {
		shown.Name += " (captured)"
		shown.Header, shown.Claims, _ = DecodeJWT(j.verbatim) // what is no JWT has no members to show
	}
	for _, a := range j.altered {
		changed = append(changed, prefix+" "+a)
	}
	return shown, changed
}

func encodeSegment(v any) (string, error) {
	data, err := json.Marshal(v)
	return base64.RawURLEncoding.EncodeToString(data), err
}

// compareMembers shows an object by member, marked with what a change did to it.
func compareMembers(honest, sent Object) []Member {
	text := func(v any) string {
		data, err := json.Marshal(v)
		if err != nil {
			return "?"
		}
		return string(data)
	}
	var out []Member
	for _, m := range sent {
		member := Member{Name: m.Name, Value: text(m.Value)}
		if i := slices.IndexFunc(honest, func(h ObjectMember) bool { return h.Name == m.Name }); i < 0 {
			member.Change = "added"
		} else if was := text(honest[i].Value); was != member.Value {
			member.Change, member.Was = "changed", was
		}
		out = append(out, member)
	}
	for _, m := range honest {
		if !slices.ContainsFunc(sent, func(s ObjectMember) bool { return s.Name == m.Name }) {
			out = append(out, Member{Name: m.Name, Value: "", Change: "removed", Was: text(m.Value)})
		}
	}
	return out
}

// DecodeJWT shows the members of a compact JWS without verifying it.
func DecodeJWT(compact string) (header, claims []Member, err error) {
	parts := strings.Split(compact, ".")
	if len(parts) != 3 {
		return nil, nil, errors.New("not a compact JWS")
	}
	var objects [2]Object
	for i := range objects {
		data, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil {
			return nil, nil, err
		}
		if objects[i], err = parseObject(data); err != nil {
			return nil, nil, err
		}
	}
	return compareMembers(objects[0], objects[0]), compareMembers(objects[1], objects[1]), nil
}

// claimsOf decodes the payload of a compact JWS without verifying it; ok is false for anything else.
func claimsOf(compact string) (claims map[string]any, ok bool) {
	parts := strings.Split(compact, ".")
	if len(parts) != 3 {
		return nil, false
	}
	data, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(data, &claims) != nil {
		return nil, false
	}
	return claims, true
}

func parseObject(data []byte) (Object, error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	if token, err := decoder.Token(); err != nil || token != json.Delim('{') {
		return nil, errors.New("not a JSON object")
	}
	var out Object
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return nil, err
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return nil, err
		}
		out = append(out, ObjectMember{name.(string), value})
	}
	if _, err := decoder.Token(); err != nil {
		return nil, err
	}
	return out, nil
}

// Seal keeps the signature that the JWT has by now, whatever is changed in it from here on.
func (j *signedJWT) Seal() {
	compact, err := j.compact()
	raw, _ := base64.RawURLEncoding.DecodeString(compact[strings.LastIndex(compact, ".")+1:])
	j.Sign = func(string) ([]byte, error) { return raw, err }
}
