package wire

import (
	"fmt"
	"strings"
	"unicode"
)

// maxRefusalText bounds the text of a refusal, in bytes.
const maxRefusalText = 512

// Refusal is why a peer was not accepted. It is sent to the peer, and is the error on both sides.
//
// Its body on the wire is one byte, Code, and Text in UTF-8 up to the end of the message. That
// never changes, nor does the preamble before it: it is what any two versions of the protocol have
// in common.
type Refusal struct { //nolint:errname // it is sent to the peer, too
	Code   RefusalCode
	Text   string // one sentence that is true on both sides; at most 512 bytes are sent
	Remote bool   // the peer refused this side
}

// Error returns who refused whom, and why.
func (r *Refusal) Error() string {
	who := "refused the peer"
	if r.Remote {
		who = "refused by the peer"
	}
	return fmt.Sprintf("%s (%v): %s", who, r.Code, r.Text)
}

// RefusalCode is the reason of a [Refusal], for programs. The numbers never change. A code that
// this version does not know may arrive.
type RefusalCode uint8

// The reasons.
const (
	RefuseProtocol     RefusalCode = 1 // the versions of the protocol, or of TLS, do not fit
	RefuseUnauthorized RefusalCode = 2 // a proof or a certificate is missing or wrong
	RefuseDuplicate    RefusalCode = 3 // there is already a link, which is kept
	RefuseSelf         RefusalCode = 4 // the peer is this runtime itself
	RefuseBusy         RefusalCode = 5 // too many peers
	RefuseMalformed    RefusalCode = 6 // the message is not a greeting
	RefuseClosed       RefusalCode = 7 // the runtime is closing
	RefuseMismatch     RefusalCode = 8 // only one side protects its links, or each in another way
)

// String returns the reason in one word.
func (c RefusalCode) String() string {
	words := [...]string{
		RefuseProtocol: "protocol", RefuseUnauthorized: "unauthorized", RefuseDuplicate: "duplicate", RefuseSelf: "self",
		RefuseBusy: "busy", RefuseMalformed: "malformed", RefuseClosed: "closed", RefuseMismatch: "mismatch",
	}
	if int(c) < len(words) && words[c] != "" {
		return words[c]
	}
	return fmt.Sprintf("code %d", uint8(c))
}

// appendTo appends the body of the refusal.
func (r *Refusal) appendTo(dst []byte) []byte {
	return append(append(dst, byte(r.Code)), cutText(r.Text, maxRefusalText)...)
}

// decodeRefusal returns the error for the body of a refusal. Before the peer has proved itself the
// refusal may come from anybody. So it does not believe reasons that only a peer can know and that
// a runtime would act upon for long.
func decodeRefusal(body []byte, proven bool) error {
	if len(body) == 0 {
		return malformedGreeting("a refusal without a reason")
	}
	r := &Refusal{Code: RefusalCode(body[0]), Text: printable(string(body[1:])), Remote: true}
	switch r.Code {
	case RefuseDuplicate, RefuseSelf, RefuseClosed:
		if !proven {
			r.Code = RefuseUnauthorized
		}
	case RefuseProtocol, RefuseUnauthorized, RefuseBusy, RefuseMalformed, RefuseMismatch:
	}
	if r.Text == "" {
		r.Text = "no reason given"
	}
	return r
}

// printable returns a peer's text without what may not be printed on a terminal or in one line of a
// log.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, cutText(s, maxRefusalText))
}

// malformedGreeting returns the refusal of what is not a greeting.
func malformedGreeting(what string) error {
	return &Refusal{Code: RefuseMalformed, Text: "not a greeting of discoro: " + what}
}
