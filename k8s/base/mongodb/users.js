// Run by the image once, on an empty data folder: the stream writes, the dashboard only reads.
const energy = db.getSiblingDB("energy_emissions");
energy.createUser({
  user: "streaming",
  pwd: process.env.MONGODB_STREAMING_PASSWORD,
  roles: [{ role: "readWrite", db: "energy_emissions" }],
});
energy.createUser({
  user: "dashboard",
  pwd: process.env.MONGODB_DASHBOARD_PASSWORD,
  roles: [{ role: "read", db: "energy_emissions" }],
});
