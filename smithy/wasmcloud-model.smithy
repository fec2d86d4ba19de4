// The traits and base types of wasmCloud's model namespace that the lattice
// control contract uses. Names and meaning are wasmCloud's; the generator
// (weld-codegen) knows them by these names.

metadata package = [{
    namespace: "org.wasmcloud.model",
    crate: "wasmbus_rpc::model"
}]

namespace org.wasmcloud.model

/// Marks a service whose operations travel over wasmbus, and says who serves it.
@trait(selector: "service")
@protocolDefinition
structure wasmbus {
    /// The capability contract id, as links name it
    contractId: CapabilityContractId,
    /// Actors serve the operations
    actorReceive: Boolean,
    /// Capability providers serve the operations
    providerReceive: Boolean,
    /// Version of the binary protocol; unset means MessagePack
    protocol: String,
}

/// Gives a member another name on the wire than in the model.
@trait(selector: "member")
structure serialization {
    name: String,
}

/// Number of a member, for encodings that are positional.
@trait(selector: "structure > member")
@range(min: 0)
short n

/// Marks a whole number that is never negative.
@trait(selector: "long,integer,short,byte")
@range(min: 0)
structure unsignedInt {}

/// Marks a plain synonym of a base type.
@trait
structure synonym {}

/// Marks a string of at least one character.
@trait(selector: "string")
@length(min: 1)
string nonEmptyString

/// Marks a shape that is sent over wasmbus.
@trait(selector: "simpleType,list,set,map,structure,union")
structure wasmbusData {}

/// Instructions for generated Rust.
@trait(selector: "*")
structure codegenRust {
    /// The struct may gain members: callers start from its default
    nonExhaustive: Boolean,
}

/// Capability contract id, such as `wasmcloud:latticecontrol`
@nonEmptyString
string CapabilityContractId

/// Signed 32-bit whole number
@synonym
integer I32

/// Unsigned 16-bit whole number
@unsignedInt
short U16

/// Unsigned 64-bit whole number
@unsignedInt
long U64
