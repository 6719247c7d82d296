/**
 * Sessions that outlive their connections.
 *
 * Waits are promises. They take `{ timeout, signal }`: `timeout` is in milliseconds and without it they wait for ever;
 * a signal that aborts rejects with an AbortError. A wait that is over, either way, has taken nothing: the next one gets
 * what would have come. Errors are {@link ClerverError}, or for wrong arguments TypeError and RangeError with a `code`
 * that begins with `ERR_`.
 */
/// <reference types="node" />
import * as http from 'node:http'
import { Duplex, DuplexOptions } from 'node:stream'

/** Version of the library, such as `0.1.0`. */
export const version: string

/** What goes in: a string is sent as UTF-8. What comes out is always a Buffer. */
export type Data = Buffer | NodeJS.ArrayBufferView | ArrayBuffer | string

/** The limits of a wait. */
export interface WaitOptions {
  /** Milliseconds; left out or `Infinity` for ever, 0 only looks. Over: `TIMEOUT`. */
  timeout?: number | undefined
  /** Gives the wait up. */
  signal?: AbortSignal | undefined
}

/** The name of an error; {@link codes} has what each is about. */
export type Code =
  | 'TIMEOUT' | 'AGAIN' | 'UNREACHABLE' | 'RESOLVE' | 'BUSY' | 'DRAINING' | 'LINK_FAILED' | 'NOT_RUN' | 'CANCELLED'
  | 'INTERRUPTED' | 'UNCONFIRMED' | 'STORE' | 'DENIED' | 'BLOCKED' | 'WRONG_IDENTITY' | 'WRONG_NODE' | 'BAD_PROOF'
  | 'VERSION' | 'LEVEL' | 'KEY_FILE' | 'SKEW' | 'REPLAYED' | 'LOST' | 'CLOSED' | 'RESET' | 'DISCONTINUITY' | 'UNKNOWN'
  | 'FENCED' | 'END' | 'STOPPED' | 'CALL_FAILED' | 'REPLACED' | 'HANDLE' | 'ARG' | 'SELF' | 'IN_USE' | 'STATE'
  | 'NO_SERVICE' | 'IN_CALLBACK' | 'FORKED' | 'CONFIG' | 'ENCODING' | 'MISMATCH' | 'UNSUPPORTED' | 'NOT_DRAINED'
  | 'POISONED' | 'SIZE' | 'LIMIT' | 'CHANNELS' | 'ADMISSION' | 'PROTOCOL' | 'BUG' | 'SYSTEM'

/**
 * What a program should do about an error. `retry`: the same may work later; `again`: wait for room or data; `denied`:
 * somebody decided against it; `lost`: continuity is broken; `misuse`: wrong for this object or moment; `limit`: a stated
 * limit is reached; `bug`: a defect.
 */
export type ErrorClass = 'retry' | 'again' | 'denied' | 'lost' | 'misuse' | 'limit' | 'bug'

/** An error of Clerver. Thrown by a handler with `NOT_RUN`, `BUSY` or `DENIED` it reaches the caller with that code. */
export class ClerverError extends Error {
  constructor(code: Code, message?: string, remedy?: string)
  readonly name: 'ClerverError'
  /** Which error; programs decide by it or by its class. */
  readonly code: Code
  /** Its number, the same in every language. */
  readonly number: number
  /** What to do about it. */
  readonly class: ErrorClass
  /** What a person can do about it. */
  readonly remedy: string
}

/** A signal gave a wait up; `cause` is the signal's reason. */
export class AbortError extends Error {
  constructor(reason?: unknown)
  readonly name: 'AbortError'
  readonly code: 'ABORT_ERR'
}

/** What is known of an error code. */
export interface CodeInfo {
  readonly code: Code
  readonly number: number
  readonly class: ErrorClass
  readonly remedy: string
}

/** All error codes. */
export const codes: readonly CodeInfo[]

/** What is known of an option of a node. */
export interface OptionInfo {
  /** Its name in configuration files; in {@link NodeOptions} `beat_ms` is `beatMs`. */
  readonly name: string
  readonly kind: string
  /** False: setting it is an error, because the feature is not built. */
  readonly isSupported: boolean
}

/** All options of a node. */
export const options: readonly OptionInfo[]

/**
 * Options of a node. What is left out comes from the environment (`CLERVER_BEAT_MS` and so on), then from the
 * configuration file, then from the defaults.
 */
export interface NodeOptions {
  /** Milliseconds between two heartbeats on a link; 1000. */
  beatMs?: number
  /** Milliseconds without a sign of life until the other side may clean up; 10,000. */
  ttlMs?: number
  /** The longest TTL in milliseconds that this node grants to a peer; 120,000. */
  ttlMaxMs?: number
  /** The largest message in bytes; 16 MiB. */
  messageBytesMax?: number
  /** Bytes of received data that a session holds at most; 32 MiB. */
  sessionBudgetBytes?: number
  /** Open channels of a session at most; 1024. */
  channelsMax?: number
  /** Threads that wait for callbacks of objects at most, and hand requests to handlers, for which none waits; 4. */
  workers?: number
  /** What people call this machine. */
  hostName?: string
  /** What people call this node. */
  nodeName?: string
  /** The directory of host key and trust files, as an absolute path. */
  home?: string
  /** Milliseconds by which the clocks of two hosts may differ. */
  maxSkewMs?: number
  /** Milliseconds that running handlers get before a destructor gives up waiting; 10,000. */
  graceMs?: number
  /** Not possible here: `UNSUPPORTED`. */
  callerDriven?: false
  /** Whether the node has a thread of its own, or all nodes that say `shared` have one together. */
  engine?: 'own' | 'shared'
  /** Without meaning here. */
  maxGapMs?: number
  /** Milliseconds that a session waits at most before it dials again; 100, doubled with each failure. */
  redialMs?: number
  /** The longest such pause; 30,000. */
  redialMaxMs?: number
  /** How often all addresses may fail before a connect gives up; left out, only time counts. */
  redialAttempts?: number
  /** Whether a session leaves a congested path by itself; true. */
  roam?: boolean
  /** Whether this node comes and goes, so that its sessions are kept past their TTL; false. */
  volatile?: boolean
  /** How long in milliseconds a session is kept past its TTL; 24 hours. */
  embalmMs?: number
  /** Sessions kept past their TTL; 1000. */
  embalmSessionsMax?: number
  /** Bytes of them; 256 MiB. */
  embalmBytesMax?: number
  /** Whether peers are told where this node listens; true. */
  announce?: boolean
  /** Whether another node that answers at an address is taken; false. */
  anyNode?: boolean
  /** Not built yet: `UNSUPPORTED`. */
  replace?: boolean
  /** The level that a peer needs at the least to be let in by a listener; 1. */
  listenerLevel?: number
  /** Handshakes that run at once; 0 for 32 for each core. */
  handshakesMax?: number
  /** Milliseconds from accepting a connection to its greeting; 10,000. */
  handshakeMs?: number
  /** Connections that one source address may open per second; 50. */
  sourceRatePerS?: number
  /** Events that wait for the program; 4096, then the oldest go and are counted. */
  eventsMax?: number
  /** Of use for threads that block, which there are none of here. */
  callersRead?: boolean
  /** Whether small messages that follow each other closely may leave together; true. */
  gather?: boolean
  /** The directory in which sessions and stored channels outlive the process. */
  storeDir?: string
  /** A configuration file to read, besides the usual one. */
  config?: string
  /** Gives the opening up. */
  signal?: AbortSignal
}

/** Where and how to connect. */
export interface ConnectOptions extends WaitOptions {
  /** Dial all addresses at once and take the fastest. */
  race?: boolean
  /** Accept a session with another node at these addresses when the first is gone. */
  anyNode?: boolean
  /** Connections kept for bulk channels beside the primary one, 0 to 8. */
  bulkLinks?: number
  /** Connections kept ready for when the one that carries fails, 0 to 4. */
  standbyLinks?: number
}

/** How a service is offered. */
export interface ServiceOptions {
  /** Level that a caller needs, 0 to 255; 1, every authorised peer. */
  level?: number
  /** Running a call twice does no harm. */
  idempotent?: boolean
}

/** Who a peer is. */
export interface Peer {
  /** Its node id, short. */
  readonly node: string
  /** The id of its host's key. */
  readonly host: string
  /** Which start of it, in hexadecimal digits. */
  readonly process: string
}

/** Counts of one channel, in bytes. `written - held` did not arrive yet. */
export interface ChannelReport {
  channel: number
  /** Written by this program; of them handed to a connection; of them held by the peer. */
  written: number
  sent: number
  held: number
  /** Of the peer, held here; of them taken by this program. */
  received: number
  taken: number
}

/** A channel whose data did not all arrive. */
export interface Undelivered {
  session: number
  peer: Peer | null
  channel: ChannelReport
}

/** What was left when a drain ended. */
export interface DrainReport {
  undelivered: Undelivered[]
  /** What still ran, such as `service "echo"`. */
  running: string[]
}

/** How a close went. */
export interface CloseReport {
  undelivered: Undelivered[]
  /** Handlers and callbacks that did not return in time. */
  stuck: string[]
}

/** Counters since the start of a node, and gauges of now. */
export interface Counters {
  sessions: number
  links: number
  refused: number
  bytesSent: number
  bytesReceived: number
  bytesRepeated: number
  bytesDuplicate: number
  objects: number
  embalmed: number
  embalmedBytes: number
  timers: number
  buffered: number
}

/** Whether a call was run: certainly not, or it cannot be known; `reply` after a whole reply or the handler's failure. */
export type Outcome = 'reply' | 'notRun' | 'unknown'

/** What was lost with a session, or left at its close. */
export interface LossReport {
  cause: ClerverError
  epoch: number
  channels: ChannelReport[]
  calls: { call: number; outcome: Outcome }[]
  /** Objects of this end at the peer, which the peer ends. */
  objects: number[]
}

/** `lost` and `closed` are final. */
export type SessionState =
  | 'registering' | 'live' | 'suspended' | 'embalmed' | 'reviving' | 'closing' | 'closed' | 'lost'

/** What is known of a session. */
export interface SessionInfo {
  sid: string
  peer: Peer
  peerName: string
  peerHostName: string
  state: SessionState
  /** The peer's level. */
  level: number
  /** Milliseconds. */
  ttl: number
  /** Milliseconds. */
  beat: number
  /** Connections now, and in all. */
  links: number
  linksTotal: number
  /** Milliseconds; null while it is unknown. */
  roundTrip: number | null
  peerDrains: boolean
  /** Bytes that the peer may still send or that wait to be taken. */
  outstanding: number
  channels: number
}

/** One address of a peer. */
export interface PeerAddress {
  address: string
  /** By the program, by the peer, or by whoever moved the session there. */
  origin: 'given' | 'announced' | 'moved'
  hasFailed: boolean
  isInUse: boolean
}

/** An object that is kept here for a peer; object 0 is the registration. */
export interface ObjectInfo {
  object: number
  kind: string
  state: 'alive' | 'poisoned' | 'embalmed' | 'dead'
  /** Milliseconds without a touch; null for as long as the session. */
  ttl: number | null
  /** Uses that go on. */
  inService: number
  /** What its owner left there. */
  data: Buffer
}

/** A call that was run here. Times are milliseconds since the machine started, as `os.uptime() * 1000`. */
export interface TaskRecord {
  call: number
  service: string
  started: number
  finished: number | null
  replied: boolean
}

/** Something about a node. `session` is {@link Session.number}; `host` a host id. */
export type NodeEvent =
  | { type: 'connected'; session: number; peer: Peer; shared: boolean }
  | { type: 'connectFailed'; address: string; error: ClerverError }
  | { type: 'addressFailed'; address: string; error: ClerverError }
  | { type: 'dialRetry'; address: string; error: ClerverError; after: number }
  | { type: 'accepted'; session: number; peer: Peer }
  | { type: 'restored'; session: number; peer: Peer }
  | { type: 'refused'; host: string; error: ClerverError }
  | { type: 'pinned'; name: string; host: string }
  | { type: 'ownIdElsewhere'; address: string }
  | { type: 'sessionState'; session: number; from: SessionState; to: SessionState; why: string }
  | { type: 'draining'; sessions: number; undeliveredBytes: number; running: string[] }
  | { type: 'notice'; text: string }
  /** A callback of a kind threw, or its promise was rejected. */
  | { type: 'callbackFailed'; kind: string; action: string; error: unknown }
  /** So many older events were dropped before this one. */
  | { type: 'dropped'; count: number }

/** Something about a session. Only after `lost` may data be missing. */
export type SessionEvent =
  | { type: 'state'; from: SessionState; to: SessionState; why: string; bufferedBytes: number; left: number | null }
  | { type: 'lost'; report: LossReport }
  | { type: 'closed'; report: LossReport }
  | { type: 'linkAttached'; link: string; role: 'primary' | 'standby' | 'bulk' | 'hop'; address: string }
  | { type: 'linkEnded'; link: string; error: ClerverError }
  | { type: 'skew'; milliseconds: number }
  | { type: 'peerDrains' }
  | { type: 'peerAddresses'; addresses: string[] }
  | { type: 'moveBegan'; to: string | null; cause: MoveCause }
  | { type: 'moveFailed'; error: ClerverError }
  | { type: 'peerMoves'; cause: MoveCause }
  | { type: 'peerRevived'; peer: Peer }
  | { type: 'opened'; channel: number }
  | { type: 'openable' }
  | { type: 'objectAttached'; object: number; kind: string }
  | { type: 'objectEnded'; object: number; code: Code }
  | { type: 'objectUpdated'; object: number; data: Buffer }
  | { type: 'objectRevived'; object: number; from: number; was: number }
  | { type: 'objectStuck'; object: number }
  | { type: 'notice'; text: string }
  | { type: 'dropped'; count: number }

/** Why a session moves to another connection. */
export type MoveCause = 'asked' | 'goTo' | 'congestion'

/**
 * Answers a request: with data, with nothing, or part by part when it answers an async iterable, such as an async
 * generator. What it throws is the caller's `CALL_FAILED` with its message; `NOT_RUN`, `BUSY` and `DENIED` stay.
 */
export type Handler = (
  request: Buffer,
  call: CallContext,
) => Data | void | null | AsyncIterable<Data> | Promise<Data | void | null | AsyncIterable<Data>>

/**
 * The callbacks of a kind of objects. Each may return a promise, and is waited for; never two at once for one object, but
 * for `abandon`. What one throws is told by the node's event `callbackFailed`.
 */
export interface Kind<Payload = any> {
  /** Ends an object: once, and never while it is used. */
  destroy(payload: Payload): void | Promise<void>
  /** Contact with the owner is lost: all that the object can be made again from, at most 16 MiB. If it throws the object is destroyed. */
  embalm?(payload: Payload): Data | Promise<Data>
  /** Makes an object again. If it throws, `discard` gets the bytes. */
  revive?(data: Buffer): Payload | Promise<Payload>
  /** Milliseconds that an embalmed object is kept; 24 hours. */
  keep?: number
  /** Ends an embalmed object, in place of `revive` and `destroy`. */
  discard?(data: Buffer): void | Promise<void>
  /** The grace is over and a use of the object goes on: make it stop. */
  abandon?(payload: Payload): void | Promise<void>
  /** One line about an object. */
  print?(payload: Payload): string | Promise<string>
  /** Level that an owner needs, 0 to 255; 1. */
  level?: number
}

/**
 * One running clerver: client and server at once.
 *
 * It keeps the process alive while it listens, while a handler runs and while something of it waits, as a server does; an
 * idle one does not. {@link Node.ref} and {@link Node.unref} say otherwise. When the process ends, sessions are closed
 * and what was written is given a second to arrive; `process.exit` does not hang.
 */
export class Node implements AsyncIterable<Session> {
  private constructor()

  /**
   * Starts a node. Makes the host key on first use.
   *
   * Errors: `CONFIG` naming option, value and source; `KEY_FILE`; `IN_USE` another process has the store; `UNSUPPORTED`.
   */
  static open(options?: NodeOptions): Promise<Node>

  /** Names this start of it, short. */
  readonly id: string
  /** The id of the key that it runs under, which peers authorise. */
  readonly hostId: string
  /** Whether it has been closed. */
  readonly isClosed: boolean

  /**
   * Accepts connections of authorised peers at `host:port`; port 0 takes a free one. Resolves to the address that it got.
   * `level` is what a peer needs.
   *
   * Errors: `IN_USE`; `ARG`; `RESOLVE`; `SYSTEM`; `CLOSED`.
   */
  listen(address: string, options?: { level?: number; signal?: AbortSignal }): Promise<string>
  /** Tells peers these addresses of this node, at most 64; null finds them out again. Does not wait. Errors: `ARG`. */
  announce(addresses: string[] | null): void
  /** Where this node tells its peers that it can be reached. Does not wait. */
  addresses(): string[]

  /**
   * Connects to a node at `host:port` or `clv://HOSTID@host:port/name`, or at the first of a list of addresses of one
   * node that answers. Dials until it works. The session is shared with other connects to the same node. Its signal ends
   * it at once.
   *
   * Errors: `TIMEOUT` with the last failure; `WRONG_IDENTITY`, `DENIED`, `BLOCKED`, `VERSION`; `SELF`; `ARG`; `MISMATCH`.
   */
  connect(addresses: string | string[], options?: ConnectOptions): Promise<Session>
  /** The next session that a peer made. Its calls are served whether it is taken or not. Errors: `TIMEOUT`; `CLOSED`. */
  accept(options?: WaitOptions): Promise<Session>
  /** The sessions that peers make, until the node is closed. */
  sessions(options?: WaitOptions): AsyncGenerator<Session, void, undefined>
  [Symbol.asyncIterator](): AsyncGenerator<Session, void, undefined>

  /** Offers a service. Does not wait. Errors: `IN_USE` the name is taken; `ARG`; `LIMIT`. */
  serve(name: string, handler: Handler, options?: ServiceOptions): this
  /** Offers it no more; calls that run go on. Does not wait. Errors: `NO_SERVICE`. */
  unserve(name: string): void
  /** Makes a kind of objects known, before any is attached. Does not wait. Errors: `IN_USE`; `ARG`; `LIMIT`. */
  registerKind<Payload>(name: string, kind: Kind<Payload>): this

  /** The next event of the node. 4096 wait at most. Errors: `TIMEOUT`; `CLOSED` after the last one. */
  nextEvent(options?: WaitOptions): Promise<NodeEvent>
  /** The events of the node, until it is closed. */
  events(options?: WaitOptions): AsyncGenerator<NodeEvent, void, undefined>
  /** Gives log lines of this level and more important ones to a function, in place of the one before. Does not wait. */
  log(level: 'error' | 'warn' | 'info' | 'debug', write: (level: 'error' | 'warn' | 'info' | 'debug', line: string) => void): void
  /** Counters. Does not wait. */
  counters(): Counters
  /** Reads the trust files again; sessions with hosts that are refused now end. Errors: `KEY_FILE`; then all stays. */
  reloadTrust(): Promise<void>

  /** From now on it keeps the process alive as long as it is open. */
  ref(): this
  /** From now on it does not keep the process alive, whatever it does. */
  unref(): this
  /** Whether it keeps the process alive now. */
  hasRef(): boolean

  /** Takes no new sessions, channels and calls, and waits until what was written is with the peers and handlers are done. */
  drain(options?: WaitOptions): Promise<DrainReport>
  /**
   * Ends all sessions in good order, then the node. Takes at most `timeout` (10,000 ms) and about half a second more.
   * Whatever waits is rejected with `CLOSED`. A second close answers as the first.
   */
  close(options?: { timeout?: number }): Promise<CloseReport>
  [Symbol.asyncDispose](): Promise<void>
}

/**
 * The virtual connection with one peer, which outlives every connection it runs on. It stays until it is closed, or
 * over, whether the program keeps this object or not.
 */
export class Session {
  private constructor()

  /** Whose it is. */
  readonly node: Node
  /** Its number in this process, as in events. */
  readonly number: number
  /** Its name at both ends. */
  readonly sid: string
  /** With whom. */
  readonly peer: Peer
  /** State now. */
  readonly state: SessionState
  /** Whether this handle was closed. */
  readonly isClosed: boolean

  /** What is known of it. Errors: `HANDLE` when it is over and forgotten. */
  info(): SessionInfo
  /** What was lost, or left at the close; undefined before the end. */
  lossReport(): LossReport | undefined
  /** Where the peer can be reached. Errors: `HANDLE`. */
  addresses(): PeerAddress[]
  /** Moves the session to this address of the peer first, or to any other. Events tell how it went. Errors: `STATE`; `ARG`; `LOST`; `CLOSED`. */
  roam(address?: string): void
  /** Asks the peer to move the session to this address of ours first, or to any other. Errors: `ARG`; `AGAIN`; `LOST`; `CLOSED`. */
  goTo(address?: string): void

  /** The next event. Errors: `TIMEOUT`; `END` after the last one of a session that is over. */
  nextEvent(options?: WaitOptions): Promise<SessionEvent>
  /** The events of the session, until it is over. */
  events(options?: WaitOptions): AsyncGenerator<SessionEvent, void, undefined>
  /** Waits for a state, one of several, or one for which a function holds. Errors: `TIMEOUT`; `LOST`, `CLOSED` when it ended in another. */
  waitState(
    states: SessionState | SessionState[] | ((state: SessionState) => boolean),
    options?: WaitOptions,
  ): Promise<SessionState>

  /**
   * Opens a channel: of messages, or of `bytes`; a `bulk` one yields to everything else; a `stored` one outlives the
   * process, and the node needs a `storeDir`. Waits only while too many are open.
   *
   * Errors: `TIMEOUT`; `DRAINING`; `LOST`, `CLOSED`; `ARG`; `STATE`.
   */
  open(name?: string, options?: WaitOptions & { bytes?: boolean; bulk?: boolean; stored?: boolean }): Promise<Channel>
  /** The next channel that the peer opened. Errors: `TIMEOUT`; `LOST`, `CLOSED`. */
  acceptChannel(options?: WaitOptions): Promise<Channel>
  /** Channels that the peer opens, until the session is over. */
  channels(options?: WaitOptions): AsyncGenerator<Channel, void, undefined>
  /**
   * A stream over a new channel of bytes with the name `channel`, at once: it emits `connect`, and `error` when it cannot
   * be opened. The callback is called on `connect`. As of `net.connect`, it ends when its peer does, unless `allowHalfOpen`. Made to be given to others as their way to connect: `http.request({ createConnection:
   * session.createConnection })`, an `http.Agent`, or `new pg.Client({ stream: () => session.createConnection() })`. It is bound.
   */
  createConnection(options?: { channel?: string | undefined; allowHalfOpen?: boolean | undefined; signal?: AbortSignal | undefined } | http.ClientRequestArgs, callback?: (error: null, stream: ChannelDuplex) => void): ChannelDuplex
  createConnection(callback: (error: null, stream: ChannelDuplex) => void): ChannelDuplex

  /**
   * Calls a service of the peer and waits for its whole reply; parts are joined. `timeout` is the deadline, which the
   * handler sees; an abort cancels the call.
   *
   * Errors: what the peer answered, such as `NO_SERVICE`, `LEVEL`, `BUSY`, `CALL_FAILED`; `TIMEOUT`; `SIZE`; `DRAINING`; `LOST`, `CLOSED`.
   */
  call(service: string, request?: Data, options?: WaitOptions): Promise<Buffer>
  /**
   * Starts a call, whose deadline `timeout` is; an abort cancels it. Does not wait. Errors: `AGAIN` no room for the request;
   * `CHANNELS` too many calls and channels are open; `SIZE`; `DRAINING`; `LOST`, `CLOSED`. Then nothing was sent.
   */
  startCall(service: string, request?: Data, options?: WaitOptions): Promise<Call>

  /**
   * Keeps an object of a registered kind here, owned by the peer: it ends when the peer is gone, when `ttl` milliseconds
   * pass without a touch, or when either side ends it. Its payload is any value. Answers its number. Does not wait.
   *
   * Errors: `POISONED`; `AGAIN`; `ARG` an unknown kind; `LEVEL`; `LIMIT`.
   */
  attach(kind: string, payload: unknown, options?: { ttl?: number }): number
  /** The payload of an object that is kept here. Errors: `POISONED` its end has begun, or it is embalmed; `HANDLE`. */
  object<Payload = any>(object: number): Payload
  /** Runs a function with the payload; its destructor waits until the function's promise is settled. Errors: as {@link object}. */
  useObject<Payload = any, Result = void>(
    object: number,
    use: (payload: Payload) => Result | Promise<Result>,
  ): Promise<Result>
  /** Takes over an object that is embalmed in another session with the same host. The event `objectRevived` follows. Errors: `HANDLE`; `STATE`; `DENIED`; `POISONED`; `AGAIN`; `LIMIT`. */
  reviveObject(from: Session, object: number): void
  /** Ends an object that is kept here. Does not wait. Errors: `HANDLE`. */
  endObject(object: number): void
  /** A sign of life for an object that the peer keeps. Does not wait. Errors: `HANDLE`; `AGAIN`; `LOST`. */
  touch(object: number): void
  /** Leaves data, at most 16 KiB, in an object that the peer keeps. Does not wait. Errors: `HANDLE`; `SIZE`; `AGAIN`; `LOST`. */
  update(object: number, data: Data): void
  /** An object that the peer keeps is not needed any more. Does not wait. Errors: `HANDLE`; `AGAIN`; `LOST`. */
  release(object: number): void
  /** Objects that are kept here for the peer. Errors: `HANDLE`. */
  objects(): ObjectInfo[]
  /** One line for each of them, by the `print` of its kind. Errors: `HANDLE`. */
  printObjects(): Promise<string[]>
  /** Calls that were run here for the peer, oldest first; the last 256. Errors: `HANDLE`. */
  history(): TaskRecord[]

  /** Waits until the peer holds everything that was written. Errors: `TIMEOUT`; `LOST`, `CLOSED`. */
  drain(options?: WaitOptions): Promise<void>
  /**
   * Closes this handle. With the last handle the session ends: what was written is delivered first, for at most
   * `timeout` (10,000 ms). The second close does nothing. Errors: `TIMEOUT` or `LOST` when not everything was delivered.
   */
  close(options?: { timeout?: number }): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/** What was taken of a stored channel. */
export interface Delivery {
  data: Buffer
  /** Where it ends in the channel. */
  end: number
  /** An earlier process may have taken it. */
  redelivered: boolean
  /** What that process noted last about it; empty for nothing. */
  restartPoint: Buffer
}

/** An ordered, reliable, two-way sequence of messages or bytes. `for await` reads it until the peer ends it. */
export class Channel implements AsyncIterable<Buffer> {
  private constructor()

  /** Its number within its session, the same at both ends. */
  readonly number: number
  /** What it is for, as the end that opened it said. */
  readonly name: string
  /** Whether it is a stream of bytes. */
  readonly isBytes: boolean
  /** Whether this end stores it. */
  readonly isStored: boolean
  readonly session: Session
  /** Whether it was given back. */
  readonly isClosed: boolean

  /**
   * Sends one message, or all of the bytes, by copy, once there is room. On a stored channel also waits until it is on the
   * disk; when that takes too long, or is given up, it is queued all the same and must not be sent again: `UNCONFIRMED`.
   *
   * Errors: `SIZE`; `STOPPED` the peer reads no more; `CLOSED` after `end`; `LOST`; `TIMEOUT`; `HANDLE`.
   */
  send(data: Data, options?: WaitOptions): Promise<void>
  /** Sends what there is room for now: how many bytes, or undefined for none. Errors: as {@link send}. */
  trySend(data: Data): number | undefined
  /** Waits until what was sent on a stored channel is on the disk. Errors: `UNCONFIRMED`; `HANDLE`; `CLOSED`. */
  confirm(options?: WaitOptions): Promise<void>

  /**
   * The next message, or some bytes, at most 64 KiB.
   *
   * Errors: `END` after the last one; `RESET`, or the peer's code, where it broke off; `LOST`, `CLOSED`; `TIMEOUT`; `HANDLE`.
   */
  receive(options?: WaitOptions): Promise<Buffer>
  /** What is there now, or undefined. Errors: as {@link receive}. */
  tryReceive(): Buffer | undefined
  /** As {@link receive}, of a stored channel, with what is needed to be done with it. */
  take(options?: WaitOptions): Promise<Delivery>
  /** Is done with everything up to the end of a delivery: it is not delivered again. Errors: `STATE`; `ARG`; `UNCONFIRMED`. */
  ack(delivery: Delivery | number, options?: WaitOptions): Promise<void>
  /** Notes how far the work on the first message is that is not acknowledged, at most 64 KiB. Errors: `STATE`; `SIZE`; `UNCONFIRMED`. */
  setRestartPoint(point: Data, options?: WaitOptions): Promise<void>
  [Symbol.asyncIterator](): AsyncGenerator<Buffer, void, undefined>

  /** Sends no more: the peer reads the rest and then `END`. Reading goes on. Does not wait. */
  end(): void
  /** Breaks off: what was not sent is dropped, and the peer's reads end with `RESET`. Does not wait. */
  reset(why?: string): void
  /** Reads no more: the peer's sends end with `STOPPED`. Does not wait. */
  stop(): void
  /** How many bytes were written, held, taken and so on. Errors: `HANDLE`. */
  report(): ChannelReport
  /** Gives the channel back: what was written is still delivered, what was not read is dropped. Waits on it end with `HANDLE`. */
  close(): void

  /**
   * The channel as a stream: `write` and `pipeline` wait while the peer reads too slowly. Of a channel of messages each
   * chunk is one message. It is ended by `end()`; destroyed before, the peer gets `RESET`. Always the same one; do not
   * read or write beside it. Errors: `STATE` it is stored; `HANDLE`.
   */
  duplex(options?: Pick<DuplexOptions, 'readableHighWaterMark' | 'writableHighWaterMark' | 'allowHalfOpen' | 'signal'>): ChannelDuplex
  [Symbol.asyncDispose](): Promise<void>
}

/** A channel as a stream, with what users of sockets ask of one. */
export class ChannelDuplex extends Duplex {
  private constructor()
  /** Undefined while it is being opened. */
  readonly channel: Channel | undefined
  readonly connecting: boolean
  readonly pending: boolean
  readonly readyState: 'opening' | 'open' | 'readOnly' | 'writeOnly' | 'closed'
  /** The peer's node id. */
  readonly remoteAddress: string | undefined
  /** Does nothing: nothing is delayed. */
  setNoDelay(on?: boolean): this
  /** Does nothing: sessions have heartbeats. */
  setKeepAlive(on?: boolean, delay?: number): this
  /** Emits `timeout` when nothing was read or written for so many milliseconds; 0 for never. */
  setTimeout(milliseconds: number, listener?: () => void): this
  /** It is connected by itself; the listener is called on `connect`. */
  connect(...ignored: unknown[]): this
  /** Ends it, and destroys it when all is written. */
  destroySoon(): void
  /** Does nothing; see {@link Node.ref}. */
  ref(): this
  /** Does nothing; see {@link Node.unref}. */
  unref(): this
  address(): {}
}

/** A call that was started. `for await` reads its parts. */
export class Call implements AsyncIterable<Buffer> {
  private constructor()
  /** Names the call at both ends. */
  readonly id: string
  /** Whether it was run; `unknown` before its end. */
  readonly outcome: Outcome
  /** The next part of the reply; undefined once it is whole. Errors: as {@link Session.call}; `CANCELLED`. */
  receive(options?: WaitOptions): Promise<Buffer | undefined>
  /** Gives up: the handler is told, and `receive` answers `CANCELLED`. */
  cancel(): void
  /** Gives it back; one whose reply is not whole is cancelled. To be called, unless it was read to its end. */
  close(): void
  [Symbol.asyncIterator](): AsyncGenerator<Buffer, void, undefined>
}

/** A call, as its handler sees it. Of use as long as the handler runs. */
export class CallContext {
  private constructor()
  /** Names the call at both ends. */
  readonly id: string
  /** The caller's level. */
  readonly level: number
  /** The caller's session. */
  readonly session: Session
  /** Milliseconds until the caller gives up; `Infinity` for never. */
  readonly remaining: number
  /** Whether the caller gave up, or its session ended. */
  readonly isCancelled: boolean
  /** Aborts when the caller gives up; of a call that is cancelled already, in the next turn. */
  readonly signal: AbortSignal
  /** Sends one part of the reply, once there is room; what the handler returns is the last one. Errors: `STOPPED`; `LOST`; `CLOSED`; `STATE`. */
  replyPart(data: Data): Promise<void>
}
