package discoro

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"

	"github.com/discoro/discoro/internal/call"
	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/internal/link"
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

func init() { //nolint:gochecknoinits // this package's own types travel like users' types
	RegisterType[Location]("discoro.Location")
	RegisterType[Status]("discoro.Status")
	RegisterType[CoroInfo]("discoro.CoroInfo")
	RegisterType[PeerStatus]("discoro.PeerStatus")
	RegisterType[NodeAvail]("discoro.NodeAvail")
}

// appendMessage encodes a message together with its type.
func (rt *Runtime) appendMessage(dst []byte, msg any) ([]byte, error) {
	start := len(dst)
	dst, err := values.AppendAny(dst, msg, rt)
	if err != nil {
		return dst, fmt.Errorf("the message cannot travel: %w", err)
	}
	if n := len(dst) - start; n > rt.cfg.MaxMessage {
		return dst[:start], fmt.Errorf("the message has %d bytes, and Config.MaxMessage is %d: %w",
			n, rt.cfg.MaxMessage, ErrTooLarge)
	}
	return dst, nil
}

func (rt *Runtime) encodeMessage(msg any) ([]byte, error) { return rt.appendMessage(nil, msg) }

func (rt *Runtime) decodeMessage(body []byte) (any, error) {
	msg, err := values.DecodeAny(body, rt)
	return decoded(msg, err)
}

// decodeSole is decodeMessage of bytes that nothing else refers to, so the message may refer to
// them.
func (rt *Runtime) decodeSole(body []byte) (any, error) {
	msg, err := values.DecodeAnyOwn(body, rt)
	return decoded(msg, err)
}

func decoded(msg any, err error) (any, error) {
	if err != nil {
		return nil, fault.Because(err, "receive: a message was lost that this program cannot decode")
	}
	return msg, nil
}

// encodeAs encodes a value for a receiver that knows its type t. A small value gets a buffer that
// is just large enough.
func encodeAs(t reflect.Type, v any, rt *Runtime) ([]byte, error) {
	buf := link.GetBuffer()
	defer link.PutBuffer(buf)
	var ctx any
	if rt != nil {
		ctx = rt
	}
	b, err := values.AppendAs((*buf)[:0], t, v, ctx)
	*buf = b
	if err != nil {
		return nil, err
	}
	if len(b) >= link.LargeFrame { // not worth a copy
		*buf = nil
		return b, nil
	}
	return bytes.Clone(b), nil
}

// encodeOutcome encodes how a coroutine ended, or the answer to a call.
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
		return nil, fmt.Errorf("the value has %d bytes, and Config.MaxMessage is %d: %w",
			len(body), rt.cfg.MaxMessage, ErrTooLarge)
	}
	return &wire.Outcome{Type: values.TypeName(t), Body: body}, nil
}

// failed returns the outcome of a failure.
func failed(err error) *wire.Outcome { return &wire.Outcome{Err: encodeError(err)} }

// outcomeOf decodes an outcome from another runtime. c is the coroutine whose outcome it is, nil
// when that is not known.
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

// resultAs returns an outcome's value as an R.
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

// nilResult returns an R for a result that has no value.
func nilResult[R any](name string) (R, error) { //nolint:unparam // a nil R is what it returns
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
				fmt.Sprintf("discoro: result of %s is %s, which does not decode into a %v: %v", name, got, want, err),
				ErrType, err,
			)
		}
		return r, nil
	case o.Type == "":
		return r, fmt.Errorf("discoro: result of %s: its type has no name on the wire; "+
			"register it with RegisterType there and here, or ask for it by its type: %w", name, ErrTypeNotRegistered)
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
