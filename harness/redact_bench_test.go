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

// BenchmarkRedactGrowth reports how much more ten times the secrets and ten times the text cost, in one run: about 1 and about 10.
func BenchmarkRedactGrowth(b *testing.B) {
	cost := func(secrets, size int) time.Duration {
		r, text := manySecrets(secrets), evidence(size)
		began := time.Now()
		r.Text(text)
		return time.Since(began)
	}
	var base, secrets, text time.Duration
	for b.Loop() {
		base += cost(1000, 1<<17)
		secrets += cost(10000, 1<<17)
		text += cost(1000, 10<<17)
	}
	b.ReportMetric(float64(secrets)/float64(base), "×/10×secrets")
	b.ReportMetric(float64(text)/float64(base), "×/10×text")
}
