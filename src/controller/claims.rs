//! GetClaims.

use crate::contract::GetClaimsResponse;
use crate::controller::execution::Execution;
use crate::error::Error;

/// Lists the claims of a lattice.
pub(super) async fn list(
    call: &Execution<'_>,
    lattice_id: &str,
) -> Result<GetClaimsResponse, Error> {
    let lattice = call.connect(call.lattice_id(lattice_id)?).await?;
    let claims = call
        .keep(lattice.claims().await?)
        .into_iter()
        .map(|claims| claims.0);
    Ok(GetClaimsResponse {
        claims: claims.collect(),
    })
}
