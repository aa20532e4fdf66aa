package wire

// What a [Status] reports. The numbers are those of asyncoro.
const (
	StatusNodeDiscovered       = 1  // a node is known, and will be used if it fits
	StatusNodeInitialized      = 2  // the first server of a node will be usable in a moment
	StatusNodeClosed           = 3  // a node no longer serves the computation
	StatusNodeIgnore           = 4  // a node does not fit, or refused; Reason says why
	StatusNodeDisconnected     = 5  // the link to a node has broken
	StatusServerDiscovered     = 11 // a server exists and is being set up
	StatusServerInitialized    = 12 // a server can be used
	StatusServerClosed         = 13 // a server no longer serves the computation
	StatusServerIgnore         = 14 // a server could not be set up; Reason says why
	StatusServerDisconnected   = 15 // a server was lost, with everything that it ran
	StatusCoroCreated          = 20 // a run has started; the client makes this one itself, from a Started
	StatusComputationScheduled = 23 // the computation has become active
	StatusComputationClosed    = 25 // the computation is over: its last Status
)
