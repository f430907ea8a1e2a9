package harness

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// manySecrets registers tokens that begin alike, as those of one server do, codes and passwords.
func manySecrets(n int) *Redactor {
	r := NewRedactor()
	for i := range n {
		switch i % 3 {
		case 0:
			token, _ := testJWT(fmt.Sprintf("%010d", i))
			r.Register("access_token", token)
		case 1:
			r.Register("code", fmt.Sprintf("code_%08d_%x", i, i*7919))
		default:
			r.Register("password", fmt.Sprintf("%x-pw-%d", i*104729, i))
		}
	}
	return r
}

// evidence is a text of about size bytes like those of a run, with a secret in every 2000 bytes or so.
func evidence(size int) string {
	rnd := rand.New(rand.NewPCG(1, 2))
	source := rand.NewChaCha8([32]byte{5})
	key := make([]byte, 64)
	var out strings.Builder
	for i := 0; out.Len() < size; i++ {
		source.Read(key)
		token, _ := testJWT(fmt.Sprintf("%010d", 3*rnd.IntN(30)))
		fmt.Fprintf(&out, `<a href="/cb?state=%s&amp;n=%d&amp;u=https%%3A%%2F%%2Fas.example.com%%2Fx">The quick brown fox jumps over the lazy dog.</a>`+"\n",
			base64.RawURLEncoding.EncodeToString(key[:rnd.IntN(64)]), i)
		if i%10 == 0 {
			fmt.Fprintf(&out, `{"access_token":"%s","expires_in":300,"error_description":"said \"no\" \u003c"}`+"\n", token)
		}
	}
	return out.String()[:size]
}

func BenchmarkRedactText(b *testing.B) {
	for _, secrets := range []int{100, 1000, 10000} {
		r := manySecrets(secrets)
		for _, size := range []int{1 << 10, 1 << 16, 1 << 20} {
			text := evidence(size)
			b.Run(fmt.Sprintf("secrets=%d/bytes=%d", secrets, size), func(b *testing.B) {
				b.SetBytes(int64(size))
				for b.Loop() {
					r.Text(text)
				}
			})
		}
	}
}

func BenchmarkRedactRegister(b *testing.B) {
	for b.Loop() {
		manySecrets(1000)
	}
}

// TestRedactCost compares, so that it holds on a slow machine: ten times the secrets must cost less than
// three times as much, ten times the text less than thirty times.
func TestRedactCost(t *testing.T) {
	if testing.Short() {
		t.Skip("measures time")
	}
	best := func(secrets, size int) time.Duration {
		r, text := manySecrets(secrets), evidence(size)
		least := time.Duration(1 << 62)
		for range 7 {
			began := time.Now()
			r.Text(text)
			least = min(least, time.Since(began))
		}
		return least
	}
	base, secrets, text := best(1000, 1<<17), best(10000, 1<<17), best(1000, 10<<17)
	t.Logf("128 KiB, 1,000 secrets %v; 10,000 secrets %v; 1.25 MiB %v", base, secrets, text)
	if secrets > 3*base {
		t.Errorf("ten times the secrets: %v instead of %v", secrets, base)
	}
	if text > 30*base {
		t.Errorf("ten times the text: %v instead of %v", text, base)
	}
}
