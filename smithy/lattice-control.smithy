// The lattice control contract: what an actor can ask of a lattice controller.
// The shapes are in lattice-control-shapes.smithy.
//
// Shapes, members, traits and wire names are those of the contract that actors
// compile against (wasmcloud-interface-lattice-control 0.15 to 0.20); the
// comments say what this provider promises. Every structure is camelCase on
// the wire, except org.wasmcloud.core#LinkDefinition.

metadata package = [{
    namespace: "org.wasmcloud.lattice.control",
    crate: "wasmcloud_interface_lattice_control"
}]

namespace org.wasmcloud.lattice.control

use org.wasmcloud.model#wasmbus

/// Runs lattices on behalf of actors: find hosts, start, scale, update and stop
/// what runs on them, link it, and read back what is there. Every operation
/// names the lattice it is for; SetLatticeCredentials says how to reach it.
@wasmbus(
    contractId: "wasmcloud:latticecontrol",
    providerReceive: true
)
service LatticeController {
    version: "0.1",
    operations: [
        AuctionProvider, AuctionActor, GetHosts, GetHostInventory, GetClaims,
        ScaleActor, StartActor, AdvertiseLink, RemoveLink, GetLinks,
        UpdateActor, StartProvider, StopProvider, StopActor, StopHost,
        SetLatticeCredentials, SetRegistryCredentials
    ]
}

/// Which hosts would run this provider? Hosts whose labels meet every
/// constraint and that do not run it yet under that link name.
operation AuctionProvider {
    input: ProviderAuctionRequest,
    output: ProviderAuctionAcks
}

/// Which hosts would run this actor? Hosts whose labels meet every constraint.
operation AuctionActor {
    input: ActorAuctionRequest,
    output: ActorAuctionAcks
}

/// Every host that answers in the lattice whose id is the argument. An empty
/// list means that nobody is there, never that the lattice is out of reach.
operation GetHosts {
    input: String,
    output: Hosts
}

/// What runs on one host, and that host's labels.
operation GetHostInventory {
    input: GetHostInventoryRequest,
    output: HostInventory
}

/// The claims of every actor and provider known in the lattice whose id is the
/// argument.
operation GetClaims {
    input: String,
    output: GetClaimsResponse
}

/// Puts a link definition into the lattice, for every host and for the
/// provider it names. The same actor, contract and link name again replaces it.
operation AdvertiseLink {
    input: AdvertiseLinkRequest,
    output: CtlOperationAck
}

/// Removes a link definition from the lattice; the provider may then release
/// what it holds for it. Removing a link that is not there is accepted.
operation RemoveLink {
    input: RemoveLinkDefinitionRequest,
    output: CtlOperationAck
}

/// Starts instances of an actor on one host.
operation StartActor {
    input: StartActorCommand,
    output: CtlOperationAck
}

/// Sets the number of instances of an actor on one host.
operation ScaleActor {
    input: ScaleActorCommand,
    output: CtlOperationAck
}

/// Replaces a running actor on one host by another revision, without stopping
/// it.
operation UpdateActor {
    input: UpdateActorCommand,
    output: CtlOperationAck
}

/// Every link definition in the lattice whose id is the argument.
operation GetLinks {
    input: String,
    output: LinkDefinitionList
}

/// Starts a capability provider on one host.
operation StartProvider {
    input: StartProviderCommand,
    output: CtlOperationAck
}

/// Stops a capability provider on one host.
operation StopProvider {
    input: StopProviderCommand,
    output: CtlOperationAck
}

/// Stops instances of an actor on one host.
operation StopActor {
    input: StopActorCommand,
    output: CtlOperationAck
}

/// Stops a host and everything that runs on it.
operation StopHost {
    input: StopHostCommand,
    output: CtlOperationAck
}

/// Gives the hosts of a lattice credentials for artifact registries. Hosts add
/// them to those they have; no host can be told to forget any.
operation SetRegistryCredentials {
    input: SetRegistryCredentialsRequest
}

/// Says where a lattice is and with which credentials to connect to it. Until
/// this is set, a lattice is unknown; set again, it replaces what was set
/// before, from the next call on.
operation SetLatticeCredentials {
    input: SetLatticeCredentialsRequest,
    output: CtlOperationAck
}
