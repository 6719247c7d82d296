// A chat that nobody falls out of when a connection breaks, and that notices when somebody really is gone.
//
//     node chat.mjs serve 127.0.0.1:4000    and then, in other terminals,    node chat.mjs ADDRESS NAME
//
// Guests join by a call, and speak by calls. The server keeps an object for each of them, whose destructor says good-bye:
// it runs once, whether the guest leaves, is killed, or loses the network for longer than the TTL.
import { Node } from 'clerver'
import { createInterface } from 'node:readline'

const [what, address = ''] = process.argv.slice(2)

/** @param {Node} node */
async function serve(node) {
  /** @type {Map<number, { name: string, lines: import('clerver').Channel }>} */
  const guests = new Map()
  /** @param {string} line */
  const tell = (line) => {
    console.log(line)
    for (const { lines } of guests.values()) lines.trySend(line) // who does not read misses it
  }
  node.registerKind('guest', {
    destroy(/** @type {number} */ session) {
      const guest = guests.get(session)
      guests.delete(session)
      tell(`${guest?.name} is gone`)
    },
  })
  node.serve('join', async (name, { session }) => {
    guests.set(session.number, { name: String(name), lines: await session.open('lines') })
    session.attach('guest', session.number)
    tell(`${name} is here`)
  })
  node.serve('say', (line, { session }) => tell(`${guests.get(session.number)?.name}: ${line}`))
  console.log(`serving at ${await node.listen(address)}`)
}

/** @param {Node} node */
async function talk(node) {
  const session = await node.connect(what ?? '', { timeout: 10_000 })
  await session.call('join', address, { timeout: 5000 })
  const lines = await session.acceptChannel()
  const reading = (async () => {
    for await (const line of lines) console.log(String(line))
  })().catch(() => {}) // it ends with the session
  for await (const line of createInterface({ input: process.stdin })) await session.call('say', line)
  await session.close()
  await reading
  await node.close()
}

const node = await Node.open()
await (what === 'serve' ? serve(node) : talk(node))
