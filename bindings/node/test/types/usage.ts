// Every way in which the types are meant to be used: compiled by tsc, never run. A line after @ts-expect-error has to be
// an error.
import http = require('node:http')
import { pipeline } from 'node:stream/promises'
import { Duplex } from 'node:stream'
import {
  AbortError, Call, Channel, ChannelDuplex, ClerverError, Code, CloseReport, Delivery, LossReport, Node, NodeEvent,
  Outcome, Session, SessionEvent, SessionState, codes, options, version,
} from 'clerver'

async function nodes(): Promise<CloseReport> {
  await using node = await Node.open({ nodeName: 'x', beatMs: 500, engine: 'shared', signal: AbortSignal.timeout(1) })
  // @ts-expect-error there is no such option
  await Node.open({ beat: 500 })
  // @ts-expect-error nodes are opened
  new Node()
  const bound: string = await node.listen('127.0.0.1:0', { level: 2 })
  node.announce([bound])
  node.announce(null)
  const session: Session = await node.connect(['a:1', 'b:1'], { race: true, standbyLinks: 1, timeout: 1000 })
  for await (const accepted of node) accepted satisfies Session
  for await (const event of node.events({ signal: AbortSignal.timeout(1) })) ofNode(event)
  node.serve('a', (request) => request.subarray(1), { level: 3 })
  node.serve('b', async () => 'text').serve('c', () => {})
  node.serve('d', async function* (request, call) {
    yield request
    if (call.isCancelled || call.signal.aborted || call.remaining < 10) return
    await call.replyPart(new Uint8Array(3))
  })
  // @ts-expect-error a handler answers data
  node.serve('e', () => 5)
  node.registerKind<{ name: string }>('k', {
    destroy: ({ name }) => console.log(name),
    embalm: (payload) => JSON.stringify(payload),
    revive: async (data) => ({ name: String(data) }),
    keep: 1000,
  })
  // @ts-expect-error it needs a destructor
  node.registerKind('k', {})
  node.log('warn', (level, line) => console.log(level.length, line.length))
  node.ref().unref().hasRef() satisfies boolean
  await node.drain({ timeout: 5 })
  void session
  return node.close({ timeout: 5 })
}

function ofNode(event: NodeEvent): string | undefined {
  switch (event.type) {
    case 'refused': return event.error.remedy
    case 'draining': return event.running[0]
    case 'dialRetry': return `${event.address} ${event.after}`
    // @ts-expect-error there is none of this name
    case 'nothing': return undefined
    default: return undefined
  }
}

function ofSession(event: SessionEvent): number | undefined {
  if (event.type === 'lost') {
    const report: LossReport = event.report
    return report.channels.length
  }
  // @ts-expect-error only two of them have a report
  return event.report
}

async function sessions(session: Session, old: Session): Promise<void> {
  const state: SessionState = await session.waitState(['lost', 'closed'], { timeout: 1 })
  await session.waitState((state) => state === 'live')
  const reply: Buffer = await session.call('x', 'request', { timeout: 1, signal: AbortSignal.timeout(1) })
  const call: Call = await session.startCall('x', new DataView(new ArrayBuffer(1)))
  for await (const part of call) part satisfies Buffer
  const outcome: Outcome = call.outcome
  for await (const event of session.events()) ofSession(event)
  const object: number = session.attach('k', { any: 'thing' }, { ttl: 1000 })
  const doubled: number = await session.useObject(object, (payload: { count: number }) => payload.count * 2)
  session.object<{ name: string }>(object).name satisfies string
  session.reviveObject(old, object)
  session.update(object, Buffer.from('x'))
  session.roam()
  session.goTo('127.0.0.1:1')
  void [state, reply, outcome, doubled, session.info().roundTrip, session.peer.host, session.history()[0]?.service]
  await session.close()
}

async function channels(session: Session): Promise<void> {
  const channel: Channel = await session.open('x', { bytes: true, timeout: 5 })
  await channel.send('x', { timeout: 5 })
  for await (const data of channel) data satisfies Buffer
  const delivery: Delivery = await channel.take()
  await channel.ack(delivery)
  const stream: ChannelDuplex & Duplex = channel.duplex({ allowHalfOpen: true })
  await pipeline(process.stdin, stream)
  const agent = new http.Agent({ keepAlive: true })
  http.get({ agent, createConnection: session.createConnection })
  const connection: Duplex = session.createConnection({ channel: 'x' }, () => {})
  connection.end()
  // @ts-expect-error a number is no data
  await channel.send(5)
}

function errors(error: unknown): Code | undefined {
  if (error instanceof AbortError) return undefined
  if (error instanceof ClerverError && error.class === 'retry') return error.code
  // @ts-expect-error there is no such code
  new ClerverError('NOTHING')
  return codes[0]?.code
}

void [nodes, sessions, channels, errors, options, version]
