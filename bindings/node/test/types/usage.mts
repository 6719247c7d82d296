// What `import` finds: compiled by tsc, never run.
import clerver, { Node, version } from '../../index.mjs'

const text: string = version
const node: typeof Node = clerver.Node
void [text, node]
