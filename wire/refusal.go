package wire

import (
	"fmt"
	"strings"
	"unicode"
)

// maxRefusalText is the most bytes of a refusal's text.
const maxRefusalText = 512

// Refusal is why a peer was not let in: sent to it in words, and the error on both sides.
//
// Its body on the wire is one byte, Code, and Text in UTF-8 up to the end of the message. That never changes, nor does the
// preamble before it: it is what two versions of the protocol have in common.
type Refusal struct { //nolint:errname // what is sent is a refusal, on either side
	Code   RefusalCode
	Text   string // one sentence that is right on both sides; at most 512 bytes are sent
	Remote bool   // the peer refused us
}

// Error implements error.
func (r *Refusal) Error() string {
	who := "refused the peer"
	if r.Remote {
		who = "refused by the peer"
	}
	return fmt.Sprintf("%s (%v): %s", who, r.Code, r.Text)
}

// RefusalCode is the reason of a [Refusal] for programs. The numbers are for ever; one that this version does not know can arrive.
type RefusalCode uint8

// The reasons.
const (
	RefuseProtocol     RefusalCode = 1 // versions of the protocol, or of TLS, do not fit
	RefuseUnauthorized RefusalCode = 2 // no proof where one is due, or a wrong one; no certificate, or one that is not accepted
	RefuseDuplicate    RefusalCode = 3 // there is a link already, and it is kept
	RefuseSelf         RefusalCode = 4 // it is this very runtime
	RefuseBusy         RefusalCode = 5 // too many peers
	RefuseMalformed    RefusalCode = 6 // not a greeting
	RefuseClosed       RefusalCode = 7 // it is closing
	RefuseMismatch     RefusalCode = 8 // protected links on one side only, or in another way
)

// String returns the reason in a word.
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

// appendTo appends the refusal's body.
func (r *Refusal) appendTo(dst []byte) []byte {
	return append(append(dst, byte(r.Code)), cutText(r.Text, maxRefusalText)...)
}

// decodeRefusal makes the error of a refusal's body. Before the peer is proven it may be anybody's, so reasons that only
// a peer can know, and on which a runtime would act for long, are not believed.
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

// printable makes a peer's text fit for a terminal and a line of a log.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, cutText(s, maxRefusalText))
}

// malformedGreeting is the refusal of what is not a greeting.
func malformedGreeting(what string) error {
	return &Refusal{Code: RefuseMalformed, Text: "not a greeting of discoro: " + what}
}
