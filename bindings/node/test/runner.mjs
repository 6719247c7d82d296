// One end of the vectors, in JavaScript: reads a command per line, does it with the package, and answers in one line.
// tests/vectors/README.md has the commands.
import { createInterface } from 'node:readline'
import clerver from '../lib/index.js'

const { Node, ClerverError } = clerver

/** Longer than anything takes that works. */
const WAIT = 20_000
/** Bytes of data that a line shows; longer data is named by its length. */
const SHOWN_BYTES = 64
/** The pattern repeats after this many bytes. */
const PATTERN = 251

// Words.

function pattern(from, size) {
  const data = Buffer.allocUnsafe(size)
  for (let at = 0; at < size; at++) data[at] = (from + at) % PATTERN
  return data
}

function decode(word) {
  const [, form, count] = /^(bytes|letters):(\d+)$/.exec(word) ?? []
  if (form === 'bytes') return pattern(0, Number(count))
  if (form === 'letters') return Buffer.alloc(Number(count), 'a')
  if (word === '-') return Buffer.alloc(0)
  const data = []
  for (let at = 0; at < word.length; at++) {
    const digits = word.slice(at + 1, at + 3)
    if (word[at] === '%' && /^[0-9a-f]{2}$/i.test(digits)) {
      data.push(Buffer.from(digits, 'hex'))
      at += 2
    } else {
      const letter = String.fromCodePoint(word.codePointAt(at))
      data.push(Buffer.from(letter))
      at += letter.length - 1
    }
  }
  return Buffer.concat(data)
}

const text = (word) => decode(word).toString()

const hex = (byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`

function encode(data) {
  if (data.length === 0) return '-'
  if (data.length > SHOWN_BYTES) {
    if (data.equals(pattern(0, data.length))) return `bytes:${data.length}`
    return `${data.every((byte) => byte === 97) ? 'letters' : 'other'}:${data.length}`
  }
  const isPlain = (letter) => /[A-Za-z0-9._~]/.test(letter) || (letter === '-' && data.length > 1)
  return Array.from(data, (byte) => (isPlain(String.fromCharCode(byte)) ? String.fromCharCode(byte) : hex(byte))).join('')
}

/** An error's text is never cut to its length. */
const escaped = (message) =>
  Array.from(Buffer.from(message), (byte) => (/[A-Za-z0-9]/.test(String.fromCharCode(byte)) ? String.fromCharCode(byte) : hex(byte))).join('')

// What is kept between commands.

let node
let session
const channels = new Map()
const calls = new Map()
const notes = []
const takers = []
let gatesOpen = 0
const atGate = []

function note(what, data) {
  const line = `${what} ${encode(data)}`
  const taker = takers.shift()
  if (taker === undefined) notes.push(line)
  else taker(line)
}

function takeNote(timeout) {
  if (notes.length > 0) return notes.shift()
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      takers.splice(takers.indexOf(taker), 1)
      reject(new ClerverError('TIMEOUT', 'no note'))
    }, timeout)
    const taker = (line) => {
      clearTimeout(timer)
      resolve(line)
    }
    takers.push(taker)
  })
}

/** Channels and calls that a case has not opened are a mistake of the case. */
function named(map, number) {
  const found = map.get(number)
  if (found === undefined) throw new ClerverError('HANDLE', `there is no ${number}`)
  return found
}

/** The wait that a command names at its end, or the usual one. */
const wait = (word) => ({ timeout: word === undefined ? WAIT : Number(word) })

// Handlers.

const behaviours = {
  echo: (request) => request,
  inline: (request) => request,
  async parts(request, call) {
    for (const byte of request) await call.replyPart(Buffer.of(byte))
    return 'last'
  },
  async patience(request, call) {
    note('began', request)
    if (!call.isCancelled) await new Promise((resolve) => call.signal.addEventListener('abort', resolve))
    note('cancelled', request)
  },
  async gate(request) {
    note('began', request)
    if (gatesOpen > 0) gatesOpen--
    else await new Promise((resolve) => atGate.push(resolve))
    return request
  },
  keep: (request, call) => String(call.session.attach('thing', Buffer.from(request))),
  level: (_, call) => String(call.level),
  deadline: (_, call) => (call.remaining === Infinity ? 'none' : 'some'),
  busy() {
    throw new ClerverError('BUSY', 'as the case wants it')
  },
  fail() {
    throw new Error('as the case wants it')
  },
}

// Commands.

function optionsOf(words) {
  const options = {}
  for (const word of words) {
    const at = word.indexOf('=')
    const name = word.slice(0, at).replace(/_([a-z])/g, (_, letter) => letter.toUpperCase())
    options[name] = word.slice(at + 1)
  }
  return options
}

async function check(channel, total) {
  let received = 0
  while (total === 'end' || received < Number(total)) {
    let data
    try {
      data = await channel.receive({ timeout: WAIT })
    } catch (error) {
      if (error.code === 'END' && total === 'end') break
      throw error
    }
    const wanted = pattern(received, data.length)
    if (!data.equals(wanted)) {
      const at = data.findIndex((byte, index) => byte !== wanted[index])
      throw new ClerverError('BUG', `byte ${received + at} is wrong`)
    }
    received += data.length
  }
  return String(received)
}

const WORDS_OF_EVENT = {
  lost: ['lost', ({ report }) => report.cause.code],
  closed: ['closed', () => ''],
  linkAttached: ['link-attached', () => ''],
  linkEnded: ['link-ended', () => ''],
  peerDrains: ['peer-drains', () => ''],
  objectAttached: ['object-attached', ({ object, kind }) => `${object} ${kind}`],
  objectEnded: ['object-ended', ({ object }) => String(object)],
  objectUpdated: ['object-updated', ({ object, data }) => `${object} ${encode(data)}`],
}

const commands = {
  async open(...words) {
    node = await Node.open(optionsOf(words))
    return node.hostId
  },
  listen: (address) => node.listen(address),
  async connect(address, limit) {
    session = await node.connect(address, wait(limit))
  },
  async accept() {
    session = await node.accept(wait())
  },
  serve(name, behaviour, level) {
    node.serve(text(name), behaviours[behaviour] ?? behaviours.fail, { level: Number(level ?? 1) })
  },
  unserve: (name) => node.unserve(name),
  kind(name) {
    node.registerKind(name, { destroy: (payload) => note('destroyed', payload) })
  },
  note: (limit) => takeNote(wait(limit).timeout),
  gate() {
    const waiting = atGate.shift()
    if (waiting === undefined) gatesOpen++
    else waiting()
  },
  async drain() {
    await node.drain(wait())
  },
  async 'close-node'() {
    await node.close(wait())
  },
  async 'wait-state'(state) {
    await session.waitState(state, wait())
  },
  async event(kind) {
    for (;;) {
      const event = await session.nextEvent(wait())
      const [found, words] = WORDS_OF_EVENT[event.type] ?? []
      if (found === kind) return words(event)
    }
  },
  'close-session': () => session.close(wait()),
  attach: (kind, data, ttl) => String(session.attach(kind, decode(data), ttl === undefined ? {} : { ttl: Number(ttl) })),
  update: (object, data) => session.update(Number(object), decode(data)),
  touch: (object) => session.touch(Number(object)),
  release: (object) => session.release(Number(object)),
  'end-object': (object) => session.endObject(Number(object)),
  objects: () => String(session.objects().filter(({ object }) => object !== 0).length),
  call: async (service, data, limit) => encode(await session.call(text(service), decode(data), wait(limit))),
  async start(number, service, data, limit) {
    // -1 is for ever.
    calls.set(number, await session.startCall(text(service), decode(data), limit === '-1' ? {} : wait(limit)))
  },
  async part(number) {
    const part = await named(calls, number).receive(wait())
    if (part === undefined) throw new ClerverError('END', 'the reply is whole')
    return encode(part)
  },
  outcome: (number) => named(calls, number).outcome.replace('notRun', 'not-run'),
  cancel: (number) => named(calls, number).cancel(),
  async channel(number, form, name, limit) {
    // Without a limit it does not wait for room.
    const given = { bytes: form === 'bytes', timeout: limit === undefined ? 0 : Number(limit) }
    try {
      channels.set(number, await session.open(text(name), given))
    } catch (error) {
      if (error.code === 'TIMEOUT' && given.timeout === 0) throw new ClerverError('CHANNELS', error.message)
      throw error
    }
  },
  async take(number) {
    const channel = await session.acceptChannel(wait())
    channels.set(number, channel)
    return `${channel.isBytes ? 'bytes' : 'messages'} ${encode(Buffer.from(channel.name))}`
  },
  send: (number, data) => named(channels, number).send(decode(data), wait()),
  receive: async (number, limit) => encode(await named(channels, number).receive(wait(limit))),
  async write(number, total, piece, limit) {
    const channel = named(channels, number)
    for (let from = 0; from < Number(total); from += Number(piece)) {
      await channel.send(pattern(from, Math.min(Number(piece), Number(total) - from)), wait(limit))
    }
  },
  check: (number, total) => check(named(channels, number), total),
  end: (number) => named(channels, number).end(),
  reset: (number, why) => named(channels, number).reset(text(why)),
  stop: (number) => named(channels, number).stop(),
  'let-go'(number) {
    named(channels, number).close()
    channels.delete(number)
  },
}

async function obey(line) {
  const [verb, ...words] = line.split(/\s+/).filter(Boolean)
  if (!Object.hasOwn(commands, verb ?? '')) return `error ARG ${escaped('no such command')}`
  try {
    const answer = await commands[verb](...words)
    return answer === undefined || answer === '' ? 'ok' : `ok ${answer}`
  } catch (error) {
    return `error ${error.code ?? 'BUG'} ${escaped(error.message)}`
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${await obey(line)}\n`)
}
// What the case left open ends in good order, if the node is not closed already.
await node?.close({ timeout: 1000 })
