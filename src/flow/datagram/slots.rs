//! The slots of the fields that datagrams can have.

use crate::{
    flow::plan::{Plan, Slot},
    schema::Field,
};

/// By field, the slot in which it goes; `None` if it is not wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slots {
    pub(super) source_as: Option<Slot>,
    pub(super) destination_as: Option<Slot>,
    pub(super) source_peer_as: Option<Slot>,
    pub(super) destination_peer_as: Option<Slot>,
    pub(super) as_path: Option<Slot>,
    pub(super) communities: Option<Slot>,
    pub(super) packets: Option<Slot>,
    pub(super) hostname: Option<Slot>,
    pub(super) source_address: Option<Slot>,
    pub(super) destination_address: Option<Slot>,
    pub(super) source_network: Option<Slot>,
    pub(super) destination_network: Option<Slot>,
    pub(super) source_mask: Option<Slot>,
    pub(super) destination_mask: Option<Slot>,
    pub(super) source_port: Option<Slot>,
    pub(super) destination_port: Option<Slot>,
    pub(super) protocol: Option<Slot>,
    pub(super) tcp_flags: Option<Slot>,
    pub(super) traffic_class: Option<Slot>,
    pub(super) input_interface: Option<Slot>,
    pub(super) output_interface: Option<Slot>,
    pub(super) input_interface_name: Option<Slot>,
    pub(super) output_interface_name: Option<Slot>,
    pub(super) input_interface_description: Option<Slot>,
    pub(super) output_interface_description: Option<Slot>,
    pub(super) vlan: Option<Slot>,
    pub(super) flow_direction: Option<Slot>,
    pub(super) exporter: Option<Slot>,
    pub(super) original_exporter: Option<Slot>,
    pub(super) original_hostname: Option<Slot>,
    pub(super) sampling_rate: Option<Slot>,
}

impl Slots {
    pub(super) fn new(plan: &Plan) -> Self {
        let slot = |field| plan.slot(&field);
        Slots {
            source_as: slot(Field::SourceAs),
            destination_as: slot(Field::DestinationAs),
            source_peer_as: slot(Field::SourcePeerAs),
            destination_peer_as: slot(Field::DestinationPeerAs),
            as_path: slot(Field::AsPath),
            communities: slot(Field::Communities),
            packets: slot(Field::Packets),
            hostname: slot(Field::Hostname),
            source_address: slot(Field::SourceAddress),
            destination_address: slot(Field::DestinationAddress),
            source_network: slot(Field::SourceNetwork),
            destination_network: slot(Field::DestinationNetwork),
            source_mask: slot(Field::SourceMask),
            destination_mask: slot(Field::DestinationMask),
            source_port: slot(Field::SourcePort),
            destination_port: slot(Field::DestinationPort),
            protocol: slot(Field::Protocol),
            tcp_flags: slot(Field::TcpFlags),
            traffic_class: slot(Field::TrafficClass),
            input_interface: slot(Field::InputInterface),
            output_interface: slot(Field::OutputInterface),
            input_interface_name: slot(Field::InputInterfaceName),
            output_interface_name: slot(Field::OutputInterfaceName),
            input_interface_description: slot(Field::InputInterfaceDescription),
            output_interface_description: slot(Field::OutputInterfaceDescription),
            vlan: slot(Field::Vlan),
            flow_direction: slot(Field::FlowDirection),
            exporter: slot(Field::Exporter),
            original_exporter: slot(Field::OriginalExporter),
            original_hostname: slot(Field::OriginalHostname),
            sampling_rate: slot(Field::SamplingRate),
        }
    }
}
