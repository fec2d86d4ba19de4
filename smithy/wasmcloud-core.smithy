// The shapes of wasmCloud's core namespace that the lattice control contract
// uses: link definitions. Unlike the shapes of the contract itself, their
// members are snake_case on the wire.

metadata package = [{
    namespace: "org.wasmcloud.core",
    crate: "wasmbus_rpc::core"
}]

namespace org.wasmcloud.core

use org.wasmcloud.model#codegenRust
use org.wasmcloud.model#n
use org.wasmcloud.model#serialization
use org.wasmcloud.model#wasmbusData

/// Connects an actor to a capability provider under a contract and a link name.
@wasmbusData
@codegenRust(nonExhaustive: true)
structure LinkDefinition {
    /// Public key of the actor (`M…`)
    @required
    @serialization(name: "actor_id")
    @n(0)
    actorId: String,

    /// Public key of the provider (`V…`)
    @required
    @serialization(name: "provider_id")
    @n(1)
    providerId: String,

    /// Link name, usually `default`
    @required
    @serialization(name: "link_name")
    @n(2)
    linkName: String,

    /// Contract id, such as `wasmcloud:httpserver`
    @required
    @serialization(name: "contract_id")
    @n(3)
    contractId: String,

    /// What the provider is told about this link
    @required
    @n(4)
    values: LinkSettings,
}

/// The values of one link
map LinkSettings {
    key: String,
    value: String,
}

/// Link definitions
list ActorLinks {
    member: LinkDefinition
}
