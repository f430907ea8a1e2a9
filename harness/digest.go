package harness

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
)

// EncodedDigest is what an RSA signature of 2048 bits is made of: the encoding of the SHA-256 of a signing input for RS256 or PS256
// (RFC 8017 §9). With the public exponent 1 it is the signature itself.
func EncodedDigest(alg, input string) []byte {
	const size = 2048 / 8
	sum := sha256.Sum256([]byte(input))
	if alg == "PS256" {
		return encodedPSS(sum[:], size)
	}
	// DigestInfo of SHA-256 (RFC 8017 §9.2), behind as much padding as there is room for.
	end := append([]byte{0, 0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20}, sum[:]...)
	return append(append([]byte{0, 1}, bytes.Repeat([]byte{0xff}, size-2-len(end))...), end...)
}

// encodedPSS is EMSA-PSS with a salt as long as the hash (RFC 8017 §9.1.1, RFC 7518 §3.5).
func encodedPSS(sum []byte, size int) []byte {
	salt := []byte(Random(len(sum)))[:len(sum)]
	h := sha256.Sum256(bytes.Join([][]byte{make([]byte, 8), sum, salt}, nil))
	block := make([]byte, size-len(h)-1)
	block[len(block)-len(salt)-1] = 1
	copy(block[len(block)-len(salt):], salt)
	for i := range block {
		if i%len(h) == 0 {
			mask := sha256.Sum256(binary.BigEndian.AppendUint32(h[:], uint32(i/len(h))))
			for j := i; j < min(i+len(mask), len(block)); j++ {
				block[j] ^= mask[j-i]
			}
		}
	}
	block[0] &= 0x7f // the encoding has one bit less than the modulus
	return append(append(block, h[:]...), 0xbc)
}
