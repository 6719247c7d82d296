// The client of bench.c with the package for Node.
import { Node } from '../../../bindings/node/lib/index.mjs'

const MESSAGE = Buffer.alloc(64 * 1024)
const [address, calls, messages] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])]
const node = await Node.open()
const session = await node.connect(address, { timeout: 10_000 })
let begun = 0n
for (let at = -calls / 10; at < calls; at++) {
  if (at === 0) begun = process.hrtime.bigint()
  await session.call('echo', MESSAGE.subarray(0, 64), { timeout: 10_000 })
}
const called = (process.hrtime.bigint() - begun) / BigInt(calls)
const channel = await session.open('sink')
begun = process.hrtime.bigint()
for (let at = 0; at < messages; at++) await channel.send(MESSAGE)
channel.end()
await channel.receive()
console.log(`${called} ${(process.hrtime.bigint() - begun) / BigInt(messages)}`)
await node.close()
