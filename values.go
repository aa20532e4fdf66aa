package discoro

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"reflect"
	"slices"
	"sync"

	"github.com/discoro/discoro/internal/call"
	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/wire"
)

// values turns arguments, results and messages into bytes and back.
var values = wire.NewCodec(wire.Hooks{
	Handles: []wire.HandleType{{
		Type: reflect.TypeFor[*Coro](),
		Encode: func(v, _ any) (wire.HandleValue, error) {
			c, _ := v.(*Coro)
			return c.rt.handleValue(c), nil
		},
		Decode: func(hv wire.HandleValue, ctx any) (any, error) {
			rt, ok := ctx.(*Runtime)
			if !ok || rt == nil {
				return nil, errors.New("a coroutine's handle can only be decoded by a runtime")
			}
			return rt.liveHandle(hv), nil
		},
	}, {
		Type: reflect.TypeFor[*Channel](), Encode: encodeChannel, Decode: decodeChannel,
	}},
	EncodeError: errorValue,
	DecodeError: errorFrom,
})

func init() { //nolint:gochecknoinits // our own types travel like users'
	RegisterType[Location]("discoro.Location")
	RegisterType[Status]("discoro.Status")
	RegisterType[CoroInfo]("discoro.CoroInfo")
	RegisterType[PeerStatus]("discoro.PeerStatus")
	RegisterType[NodeAvail]("discoro.NodeAvail")
}

// handleValue is what travels of a coroutine's handle.
func (rt *Runtime) handleValue(c *Coro) wire.HandleValue {
	key := c.key
	if c.local != nil {
		key = c.rt.exported(c.local)
	}
	return wire.HandleValue{ID: c.home, Host: c.loc.Addr, Port: c.loc.Port, Key: key, Seq: c.seq, Name: c.name}
}

// liveHandle is the runtime's handle for what came over a link.
func (rt *Runtime) liveHandle(hv wire.HandleValue) *Coro {
	return rt.handle(hv)
}

// appendMessage encodes a message, with its type.
func (rt *Runtime) appendMessage(dst []byte, msg any) ([]byte, error) {
	start := len(dst)
	dst, err := values.AppendAny(dst, msg, rt)
	if err != nil {
		return dst, fmt.Errorf("the message cannot travel: %w", err)
	}
	if n := len(dst) - start; n > rt.cfg.MaxMessage {
		return dst[:start], fmt.Errorf("the message has %d bytes, and Config.MaxMessage is %d: %w", n, rt.cfg.MaxMessage, ErrTooLarge)
	}
	return dst, nil
}

func (rt *Runtime) encodeMessage(msg any) ([]byte, error) { return rt.appendMessage(nil, msg) }

func (rt *Runtime) decodeMessage(body []byte) (any, error) {
	msg, err := values.DecodeAny(body, rt)
	return decoded(msg, err)
}

// decodeOwn is decodeMessage of bytes that nobody else has; the message may refer to them.
func (rt *Runtime) decodeOwn(body []byte) (any, error) {
	msg, err := values.DecodeAnyOwn(body, rt)
	return decoded(msg, err)
}

func decoded(msg any, err error) (any, error) {
	if err != nil {
		return nil, fault.Because(err, "receive: a message was lost that this program cannot decode")
	}
	return msg, nil
}

// encodeAs encodes a value for a receiver who knows its type t, a small one in a buffer that is just large enough.
func encodeAs(t reflect.Type, v any, rt *Runtime) ([]byte, error) {
	buf, _ := frameBuffers.Get().(*[]byte)
	defer putBuffer(buf)
	var ctx any
	if rt != nil {
		ctx = rt
	}
	b, err := values.AppendAs((*buf)[:0], t, v, ctx)
	*buf = b
	if err != nil {
		return nil, err
	}
	if len(b) >= largeFrame { // not worth a copy
		*buf = nil
		return b, nil
	}
	return bytes.Clone(b), nil
}

// encodeOutcome encodes how a coroutine ended, or what a call was answered.
func encodeOutcome(rt *Runtime, out call.Outcome) (*wire.Outcome, error) {
	switch {
	case out.Err != nil:
		return failed(out.Err), nil //nolint:nilerr // the failure is the outcome
	case out.Remote != nil:
		return out.Remote, nil
	case out.Value == nil:
		return &wire.Outcome{}, nil
	}
	t := reflect.TypeOf(out.Value)
	if _, ok := out.Value.(error); ok && values.TypeName(t) == "" {
		t = reflect.TypeFor[error]()
	}
	body, err := encodeAs(t, out.Value, rt)
	if err != nil {
		return nil, err
	}
	if len(body) > rt.cfg.MaxMessage {
		return nil, fmt.Errorf("it has %d bytes, and Config.MaxMessage is %d: %w", len(body), rt.cfg.MaxMessage, ErrTooLarge)
	}
	return &wire.Outcome{Type: values.TypeName(t), Body: body}, nil
}

// failed is the outcome of a failure.
func failed(err error) *wire.Outcome { return &wire.Outcome{Err: encodeError(err)} }

// nameRun adds to the failure of a run which function failed and where, so that a registered error by itself arrives as a
// RemoteError too, and so does the loss of a server that the function used: its own is not lost. Terminations and the errors of contexts
// stay themselves.
func nameRun(v *wire.Failure, err error, fn string, loc Location) {
	if v == nil || v.Kind != "" && v.Kind != kindLost {
		return
	}
	if slices.Contains([]error{ErrTerminated, context.Canceled, context.DeadlineExceeded}, err) {
		return
	}
	v.Kind, v.Value, v.Func, v.Host, v.Port = kindRemote, "", fn, loc.Addr, loc.Port
}

func encodeError(err error) *wire.Failure { return values.ErrorValue(err) }

// outcomeOf is what an outcome from another runtime means here; c is the coroutine that it is of, where that is known.
func (rt *Runtime) outcomeOf(o *wire.Outcome, c *Coro) call.Outcome {
	if o.Err != nil {
		err := values.Error(o.Err)
		var r *RemoteError
		if errors.As(err, &r) && r.Location.IsZero() && c != nil {
			r.Location = c.loc
			if r.Func == "" {
				r.Func = c.name
			}
		}
		var p *PanicError
		if errors.As(err, &p) && p.fn == "" && c != nil {
			p.fn, p.loc = c.name, c.loc
		}
		return call.Outcome{Err: err}
	}
	return call.Outcome{Remote: o}
}

// resultAs gives an outcome's value as an R.
func resultAs[R any](rt *Runtime, out call.Outcome, name string) (R, error) {
	var r R
	if out.Err != nil {
		return r, out.Err
	}
	wrong := func(got any) (R, error) {
		return r, fmt.Errorf("discoro: result of %s is of type %v, not %v: %w", name, got, reflect.TypeFor[R](), ErrType)
	}
	if out.Remote == nil {
		if out.Value == nil {
			return nilResult[R](name)
		}
		v, ok := out.Value.(R)
		if !ok {
			return wrong(reflect.TypeOf(out.Value))
		}
		return v, nil
	}
	return decodeResult[R](rt, out.Remote, name, wrong)
}

// nilResult gives no value at all as an R.
func nilResult[R any](name string) (R, error) { //nolint:unparam // nil is what it is about
	var r R
	switch t := reflect.TypeFor[R](); t.Kind() { //nolint:exhaustive // the others cannot be nil
	case reflect.Interface, reflect.Pointer, reflect.Map, reflect.Slice:
		return r, nil
	default:
		if t == reflect.TypeFor[None]() {
			return r, nil
		}
		return r, fmt.Errorf("discoro: result of %s is nil, not a %v: %w", name, t, ErrType)
	}
}

func decodeResult[R any](rt *Runtime, o *wire.Outcome, name string, wrong func(any) (R, error)) (R, error) {
	var r R
	want := reflect.TypeFor[R]()
	switch {
	case len(o.Body) == 0:
		return nilResult[R](name)
	case want.Kind() != reflect.Interface:
		if err := values.Decode(o.Body, &r, rt); err != nil {
			got := o.Type
			if got == "" {
				got = "of a type that has no name on the wire"
			}
			return r, fault.New(
				fmt.Sprintf("discoro: result of %s is %s, it does not decode into a %v: %v", name, got, want, err),
				ErrType, err,
			)
		}
		return r, nil
	case o.Type == "":
		return r, fmt.Errorf("discoro: result of %s: its type has no name on the wire; register it with RegisterType there and here, or ask for it by its type: %w",
			name, ErrTypeNotRegistered)
	}
	v, err := values.DecodeNamed(o.Type, o.Body, rt)
	if err != nil {
		return r, fault.Because(err, "result of %s", name)
	}
	r, ok := v.(R)
	if !ok && v != nil {
		return wrong(o.Type)
	}
	return r, nil
}

// sentinels are the errors that have a name on the wire.
var sentinels = newSentinels()

type sentinelTable struct {
	mu     sync.RWMutex // guards following; leaf
	byName map[string]error
	names  map[error]string
}

func newSentinels() *sentinelTable {
	t := &sentinelTable{byName: map[string]error{}, names: map[error]string{}}
	for name, err := range map[string]error{
		"discoro.terminated": ErrTerminated, "discoro.timeout": ErrTimeout, "discoro.closed": ErrClosed,
		"discoro.not-found": ErrNotFound, "discoro.not-registered": ErrNotRegistered,
		"discoro.type-not-registered": ErrTypeNotRegistered, "discoro.type": ErrType, "discoro.no-server": ErrNoServer,
		"discoro.disconnected": ErrDisconnected, "discoro.unauthorized": ErrUnauthorized, "discoro.too-large": ErrTooLarge,
		"discoro.exists": ErrExists, "discoro.rejected": ErrRejected, "discoro.goexit": errGoexit,
		"canceled": context.Canceled, "deadline": context.DeadlineExceeded,
		"eof": io.EOF, "unexpected-eof": io.ErrUnexpectedEOF, "fs.not-exist": fs.ErrNotExist, "fs.exist": fs.ErrExist,
		"fs.permission": fs.ErrPermission, "fs.closed": fs.ErrClosed, "os.deadline": os.ErrDeadlineExceeded,
	} {
		t.byName[name], t.names[err] = err, name
	}
	return t
}

func (t *sentinelTable) add(name string, err error) error {
	switch {
	case name == "" || len(name) > maxName:
		return fmt.Errorf("a name has 1 to %d bytes", maxName)
	case err == nil:
		return errors.New("the error is nil")
	case !reflect.TypeOf(err).Comparable():
		return fmt.Errorf("a %T cannot be compared: errors.Is would never find it", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if other := t.byName[name]; other != nil {
		return fmt.Errorf("the name is that of %q", other.Error())
	}
	if other, ok := t.names[err]; ok {
		return fmt.Errorf("the error is registered as %q", other)
	}
	t.byName[name], t.names[err] = err, name
	return nil
}

// maxCodes bounds how many registered errors are found in one: their names have to fit into a frame.
const maxCodes = 256

// chain returns the names of the registered errors that err is or wraps, in order.
func (t *sentinelTable) chain(err error) []string {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var names []string
	add := func(name string) {
		if len(names) < maxCodes && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	walkChain(err, 0, func(e error) {
		if reflect.TypeOf(e).Comparable() {
			if name, ok := t.names[e]; ok {
				add(name)
			}
		}
		like, ok := e.(interface{ Is(error) bool })
		if !ok {
			return
		}
		for _, name := range slices.Sorted(maps.Keys(t.byName)) { // a syscall's error is an fs.ErrNotExist by its Is only
			if like.Is(t.byName[name]) {
				add(name)
			}
		}
	})
	return names
}

func (t *sentinelTable) errors(names []string) []error {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var errs []error
	for _, name := range names {
		if err := t.byName[name]; err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// maxChain bounds how deep the chain of an error is followed.
const maxChain = 64

// walkChain calls visit with err and everything that it wraps.
func walkChain(err error, depth int, visit func(error)) {
	if err == nil || depth > maxChain {
		return
	}
	visit(err)
	switch e := err.(type) { //nolint:errorlint // the chain itself is walked
	case interface{ Unwrap() error }:
		walkChain(e.Unwrap(), depth+1, visit)
	case interface{ Unwrap() []error }:
		for _, e := range e.Unwrap() {
			walkChain(e, depth+1, visit)
		}
	}
}

// Kinds of errors that arrive as a type of their own.
const (
	kindPanic  = "panic"
	kindLost   = "lost"
	kindRemote = "remote" // already a RemoteError: it keeps where it happened
	kindPlain  = "plain"  // its text says all: discoro's own errors
)

// maxErrorText bounds an error's text, and a stack, on the wire.
const maxErrorText = 16 << 10

// errorValue is what travels of an error.
func errorValue(err error) wire.ErrorValue {
	v := errorFields{Msg: safeText(err)}
	func() {
		defer func() { _ = recover() }() // an Is or Unwrap method that panics leaves the codes out
		v.Codes = sentinels.chain(err)
	}()
	if fault.IsPlain(err) {
		v.Kind = kindPlain
	}
	typed := false
	walkChain(err, 0, func(e error) { // not errors.As, which never ends for an error that wraps itself
		if !typed {
			typed = v.setType(e)
		}
	})
	return wire.ErrorValue(v)
}

// errorFields is an ErrorValue that is being made.
type errorFields wire.ErrorValue

// setType fills in what travels of an error that arrives as its own type; it reports false for others.
func (v *errorFields) setType(err error) bool {
	switch e := err.(type) { //nolint:errorlint // the chain is walked
	case *PanicError:
		v.Kind, v.Value, v.Stack = kindPanic, cut(fmt.Sprint(e.Value)), cut(e.Stack)
		v.Func, v.Host, v.Port = e.fn, e.loc.Addr, e.loc.Port
	case *ServerLostError:
		v.Kind, v.Func, v.Host, v.Port = kindLost, e.Func, e.Server.Addr, e.Server.Port
		v.Value = safeText(e.Cause)
	case *RemoteError:
		v.Kind, v.Msg, v.Func, v.Host, v.Port = kindRemote, cut(e.Msg), e.Func, e.Location.Addr, e.Location.Port
	default:
		return false
	}
	return true
}

// safeText is err's text, even if its Error method panics.
func safeText(err error) (text string) {
	defer func() {
		if p := recover(); p != nil {
			text = fmt.Sprintf("%T, whose Error method panicked: %v", err, p)
		}
	}()
	if err == nil {
		return ""
	}
	return cut(err.Error())
}

func cut(s string) string {
	if len(s) > maxErrorText {
		return s[:maxErrorText] + "... (cut)"
	}
	return s
}

// errorFrom is the error that arrives. A sentinel or an error of a context by itself arrives as itself.
func errorFrom(v wire.ErrorValue) error {
	chain := sentinels.errors(v.Codes)
	loc := Location{Addr: v.Host, Port: v.Port}
	switch v.Kind {
	case kindPanic:
		return &PanicError{Value: v.Value, Stack: v.Stack, fn: v.Func, loc: loc, chain: chain}
	case kindLost:
		return &ServerLostError{Server: loc, Func: v.Func, Cause: fault.New(v.Value, chain...)}
	case kindPlain:
		return fault.New(v.Msg, chain...)
	}
	if len(chain) > 0 && chain[0].Error() == v.Msg && v.Kind == "" {
		return chain[0]
	}
	return &RemoteError{Func: v.Func, Location: loc, Msg: v.Msg, chain: chain}
}
