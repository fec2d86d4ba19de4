// The shapes of the lattice control contract: what its operations take and
// answer.

namespace org.wasmcloud.lattice.control

use org.wasmcloud.core#ActorLinks
use org.wasmcloud.core#LinkDefinition
use org.wasmcloud.model#I32
use org.wasmcloud.model#U16
use org.wasmcloud.model#U64

/// Configuration of a provider: opaque, at most 500,000 bytes
@length(min: 1, max: 500000)
string ConfigurationString

/// Request to put a link definition into a lattice
structure AdvertiseLinkRequest {
    /// The lattice
    @required
    latticeId: String,
    /// The link to put
    @required
    link: LinkDefinition
}

/// Request for the claims of a lattice (the operation itself takes the bare id)
structure GetClaimsRequest {
    /// The lattice
    @required
    latticeId: String,
}

/// Request for what runs on one host
structure GetHostInventoryRequest {
    /// The lattice
    @required
    latticeId: String,
    /// Public key of the host (`N…`, 56 characters)
    @required
    hostId: String
}

/// Request for the hosts of a lattice (the operation itself takes the bare id)
structure GetHostsRequest {
    /// The lattice
    @required
    latticeId: String,
}

/// Where a lattice is and how to connect to it. A blank member counts as absent.
structure SetLatticeCredentialsRequest {
    /// The lattice
    @required
    latticeId: String,
    /// NATS user JWT; absent together with the seed for other kinds of access
    userJwt: String,
    /// NATS user seed (`SU…`) that belongs to the JWT
    userSeed: String,
    /// NATS server URL, several separated by commas. Absent, the provider's
    /// setting `default_lattice_url` counts. Without a scheme, `nats://` is meant.
    natsUrl: String,
    /// JetStream domain of the lattice's metadata bucket
    jsDomain: String
}

/// Bids of an auction for a provider
list ProviderAuctionAcks {
    member: ProviderAuctionAck
}

/// Bids of an auction for an actor
list ActorAuctionAcks {
    member: ActorAuctionAck
}

/// Hosts of a lattice
list Hosts {
    member: Host
}

/// Request for hosts that would run a provider
structure ProviderAuctionRequest {
    /// The lattice
    @required
    latticeId: String,
    /// Image reference of the provider
    @required
    providerRef: String,
    /// Link name it would run under
    @required
    linkName: String,
    /// Labels that a host must have, with these values
    @required
    constraints: ConstraintMap,
}

/// Host labels and the values asked for
map ConstraintMap {
    key: String,
    value: String,
}

/// Notes that stay with what was started, to find it again
map AnnotationMap {
    key: String,
    value: String
}

/// One host's bid for a provider
structure ProviderAuctionAck {
    /// Image reference of the provider, as asked
    @required
    providerRef: String,
    /// Link name, as asked
    @required
    linkName: String,
    /// The host that bids
    @required
    hostId: String,
}

/// Request for hosts that would run an actor
structure ActorAuctionRequest {
    /// The lattice
    @required
    latticeId: String,
    /// Image reference of the actor
    @required
    actorRef: String,
    /// Labels that a host must have, with these values
    @required
    constraints: ConstraintMap,
}

/// One host's bid for an actor
structure ActorAuctionAck {
    /// Image reference of the actor, as asked
    @required
    actorRef: String,
    /// The host that bids
    @required
    hostId: String,
}

/// What runs on a host
structure HostInventory {
    /// The host
    @required
    hostId: String,
    /// Its labels
    @required
    labels: LabelsMap,
    /// The actors that run on it
    @required
    actors: ActorDescriptions,
    /// The providers that run on it
    @required
    providers: ProviderDescriptions,
}

/// Labels of a host
map LabelsMap {
    key: String,
    value: String,
}

/// Actors on a host
list ActorDescriptions {
    member: ActorDescription,
}

/// Providers on a host
list ProviderDescriptions {
    member: ProviderDescription,
}

/// An actor that runs on a host
structure ActorDescription {
    /// Public key of the actor (`M…`)
    @required
    id: String,
    /// Image reference it was started from, if any
    imageRef: String,
    /// Name in its claims, if any
    name: String,
    /// Its instances. Hosts from 0.79.1 on keep a maximum for each set of
    /// annotations; it is listed as that many.
    @required
    instances: ActorInstances
}

/// An instance of an actor
structure ActorInstance {
    /// Id of the instance
    @required
    instanceId: String,
    /// Revision of the actor
    @required
    revision: I32,
    /// Annotations it was started with
    annotations: AnnotationMap
}

/// Instances of an actor
list ActorInstances {
    member: ActorInstance
}

/// A provider that runs on a host
structure ProviderDescription {
    /// Public key of the provider (`V…`)
    @required
    id: String,
    /// Link name it runs under
    @required
    linkName: String,
    /// Image reference it was started from, if any
    imageRef: String,
    /// Name in its claims, if any
    name: String,
    /// Revision of the provider
    @required
    revision: I32,
    /// Annotations it was started with
    annotations: AnnotationMap
}

/// Order to start an actor on a host
structure StartActorCommand {
    /// The lattice
    @required
    latticeId: String,
    /// Image reference of the actor
    @required
    actorRef: String,
    /// The host
    @required
    hostId: String,
    /// Annotations for the new instances
    annotations: AnnotationMap,
    /// How many to start; 0 starts one
    @required
    count: U16,
}

/// Order to start a provider on a host
structure StartProviderCommand {
    /// The lattice
    @required
    latticeId: String,
    /// The host
    @required
    hostId: String,
    /// Image reference of the provider
    @required
    providerRef: String,
    /// Link name to run it under
    @required
    linkName: String,
    /// Annotations for the provider
    annotations: AnnotationMap,
    /// Configuration that the provider receives as it is
    configuration: ConfigurationString
}

/// Order to set the number of instances of an actor on a host
structure ScaleActorCommand {
    /// The lattice
    @required
    latticeId: String,
    /// Image reference of the actor
    @required
    actorRef: String,
    /// Public key of the actor (`M…`)
    @required
    actorId: String,
    /// The host
    @required
    hostId: String,
    /// Annotations of the instances that count
    annotations: AnnotationMap,
    /// How many instances shall run; 0 stops them
    @required
    count: U16,
}

/// Order to stop instances of an actor on a host
structure StopActorCommand {
    /// The lattice
    @required
    latticeId: String,
    /// The host
    @required
    hostId: String,
    /// Public key of the actor (`M…`)
    @required
    actorId: String,
    /// How many to stop; 0 stops all
    @required
    count: U16,
    /// Only instances with these annotations
    annotations: AnnotationMap
}

/// Order to stop a provider on a host
structure StopProviderCommand {
    /// The lattice
    @required
    latticeId: String,
    /// The host
    @required
    hostId: String,
    /// Public key of the provider (`V…`)
    @required
    providerId: String,
    /// Link name it runs under
    @required
    linkName: String,
    /// Contract id of the provider
    @required
    contractId: String,
    /// Annotations of the provider to stop
    annotations: AnnotationMap
}

/// Order to stop a host
structure StopHostCommand {
    /// The lattice
    @required
    latticeId: String,
    /// The host
    @required
    hostId: String,
    /// Time the host may take, in seconds; absent, the host decides
    timeout: U64
}

/// Order to replace a running actor on a host by another revision
structure UpdateActorCommand {
    /// The lattice
    @required
    latticeId: String,
    /// The host
    @required
    hostId: String,
    /// Public key of the actor (`M…`)
    @required
    actorId: String,
    /// Image reference of the new revision
    @required
    newActorRef: String,
    /// Only instances with these annotations
    annotations: AnnotationMap
}

/// Answer to an order. Not accepted means: certainly not carried out, and
/// `error` says why.
structure CtlOperationAck {
    /// The order was taken
    @required
    accepted: Boolean,
    /// Why it was not; empty when it was
    @required
    error: String
}

/// Link definitions of a lattice
structure LinkDefinitionList {
    /// The links
    @required
    links: ActorLinks
}

/// A host
structure Host {
    /// Public key of the host (`N…`)
    @required
    id: String,
    /// Time since it started, in seconds
    @required
    uptimeSeconds: U64,
    /// The same for people
    uptimeHuman: String,
    /// Its labels
    labels: KeyValueMap,
    /// Version of the host software
    version: String,
    /// Public keys of the issuers it accepts, separated by commas
    clusterIssuers: String,
    /// JetStream domain it uses, if any
    jsDomain: String,
    /// NATS server of its control interface: a name or a URL
    ctlHost: String,
    /// NATS server of its provider RPC: a name or a URL
    provRpcHost: String,
    /// NATS server of its RPC: a name or a URL
    rpcHost: String,
    /// The lattice it belongs to
    latticePrefix: String
}

/// Claims known in a lattice
structure GetClaimsResponse {
    /// One map of names and values for each actor or provider
    @required
    claims: CtlKVList
}

/// Maps of names and values
list CtlKVList {
    member: KeyValueMap,
}

/// Names and values
map KeyValueMap {
    key: String,
    value: String,
}

/// Request to remove a link definition
structure RemoveLinkDefinitionRequest {
    /// The lattice
    @required
    latticeId: String,
    /// Public key of the actor (`M…`)
    @required
    actorId: String,
    /// Contract id of the link
    @required
    contractId: String,
    /// Link name
    @required
    linkName: String,
}

/// Credentials for artifact registries, for the hosts of a lattice
structure SetRegistryCredentialsRequest {
    /// The lattice
    @required
    latticeId: String,
    /// Credentials by registry
    credentials: RegistryCredentialMap
}

/// Credentials by registry
map RegistryCredentialMap {
    /// The registry, as image references begin: `ghcr.io`, `localhost:5000`
    key: String,
    value: RegistryCredential
}

/// Credentials for one registry: a token, or a user name and a password
structure RegistryCredential {
    /// Token
    token: String,
    /// User name
    username: String,
    /// Password
    @sensitive
    password: String,
    /// Kind of the registry: `oci` or `bindle`
    @required
    registryType: String
}
