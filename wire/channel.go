package wire

// The kinds of frames about channels. A channel is named by its key in the runtime that owns it.
const (
	KindSubscribe      Kind = 60 // subscribe a coroutine of the sender's runtime to a channel of the receiver's
	KindUnsubscribe    Kind = 61 // end that subscription
	KindPublish        Kind = 62 // a message for all subscribers
	KindPublishDeliver Kind = 63 // the same, answered with the number of mailboxes that it has reached
	KindCloseChannel   Kind = 64 // close a channel of the receiver's runtime
	KindEnroll         Kind = 65 // subscribe a coroutine of the receiver's runtime to a channel anywhere
	KindDropped        Kind = 66 // a subscription of a coroutine of the receiver's runtime has ended
	KindLocateChannel  Kind = 67 // find a channel by its registered name
)

// Subscribe subscribes coroutine Coro of the sender's runtime to a channel. It is answered when the
// coroutine is subscribed.
type Subscribe struct {
	_       struct{} `cbor:",toarray"`
	Call    uint64
	Channel uint64
	Coro    uint64
}

// Unsubscribe ends a subscription. Call is 0 if no answer is wanted.
type Unsubscribe struct {
	_       struct{} `cbor:",toarray"`
	Call    uint64
	Channel uint64
	Coro    uint64
}

// Publish is a message for all subscribers. If Call is not 0, it is answered when this message and
// all earlier ones no longer wait at the owner of the channel.
type Publish struct {
	_       struct{} `cbor:",toarray"`
	Call    uint64
	Channel uint64
	Body    []byte `cbor:"-"` // behind the array
}

// PublishDeliver is a message for all subscribers. The owner of the channel waits until there are N
// of them. It is answered with the number of mailboxes that the message is in.
type PublishDeliver struct {
	_       struct{} `cbor:",toarray"`
	Call    uint64
	Channel uint64
	N       int
	Body    []byte `cbor:"-"` // behind the array
}

// CloseChannel closes a channel. It is answered when the channel is closed.
type CloseChannel struct {
	_       struct{} `cbor:",toarray"`
	Call    uint64
	Channel uint64
}

// Enroll asks the receiver to subscribe its coroutine Coro to Channel, which may be a channel of
// any runtime; with Off, to unsubscribe it.
type Enroll struct {
	_       struct{} `cbor:",toarray"`
	Call    uint64
	Coro    uint64
	Off     bool
	Channel HandleValue
}

// Dropped reports that coroutine Coro is no longer subscribed to a channel of the sender's runtime,
// and why. With Coro 0 the receiver has published to a channel that has closed or never existed.
type Dropped struct {
	_       struct{} `cbor:",toarray"`
	Channel uint64
	Coro    uint64
	Err     *Failure
}

// LocateChannel asks for the channel registered under Name. The answer holds a [HandleValue].
type LocateChannel struct {
	_    struct{} `cbor:",toarray"`
	Call uint64
	Name string
}

// Kind implements [Frame].
func (*Subscribe) Kind() Kind { return KindSubscribe }

// Kind implements [Frame].
func (*Unsubscribe) Kind() Kind { return KindUnsubscribe }

// Kind implements [Frame].
func (*Publish) Kind() Kind { return KindPublish }

// Kind implements [Frame].
func (*PublishDeliver) Kind() Kind { return KindPublishDeliver }

// Kind implements [Frame].
func (*CloseChannel) Kind() Kind { return KindCloseChannel }

// Kind implements [Frame].
func (*Enroll) Kind() Kind { return KindEnroll }

// Kind implements [Frame].
func (*Dropped) Kind() Kind { return KindDropped }

// Kind implements [Frame].
func (*LocateChannel) Kind() Kind { return KindLocateChannel }

// newChannelFrame returns an empty frame of kind k; nil if k is not a kind of frames about
// channels.
func newChannelFrame(k Kind) Frame {
	switch k { //nolint:exhaustive // newFrame has the others
	case KindSubscribe:
		return &Subscribe{}
	case KindUnsubscribe:
		return &Unsubscribe{}
	case KindPublish:
		return &Publish{}
	case KindPublishDeliver:
		return &PublishDeliver{}
	case KindCloseChannel:
		return &CloseChannel{}
	case KindEnroll:
		return &Enroll{}
	case KindDropped:
		return &Dropped{}
	case KindLocateChannel:
		return &LocateChannel{}
	}
	return nil
}
