package scenarios

import "time"

// All lists the scenarios, the simplest first.
func All() []Scenario {
	return []Scenario{
		{Name: "FirstPing", Hosts: 2, Run: firstPing},
		{Name: "Broadcast", Hosts: 3, Run: broadcast},
		{Name: "Frames", Hosts: 2, Limit: 10 * time.Minute, Run: frames},
		{Name: "Isolation", Hosts: 2, Run: isolation},
		{Name: "MACMove", Hosts: 3, Limit: 10 * time.Minute, Run: macMove},
		{Name: "DaemonKilled", Hosts: 2, Limit: 10 * time.Minute, Run: daemonKilled},
		{Name: "ChildKilled", Hosts: 2, Limit: 10 * time.Minute, Lab: true, Run: childKilled},
		{Name: "Churn", Hosts: 1, Limit: 15 * time.Minute, Run: churn},
		{Name: "Down", Hosts: 2, Run: down},
		{Name: "Outsider", Hosts: 3, Run: outsider},
		{Name: "WrongSecret", Hosts: 2, Run: wrongSecret},
		{Name: "SeveralSecrets", Hosts: 2, Run: severalSecrets},
		{Name: "Secrecy", Hosts: 2, Run: secrecy},
		{Name: "Contacts", Hosts: 2, Run: contacts},
		{Name: "Reload", Hosts: 2, Run: reload},
		{Name: "Expose", Hosts: 2, Run: expose},
		{Name: "PortTaken", Hosts: 1, Run: portTaken},
		{Name: "NotRoot", Hosts: 1, Run: notRoot},
		{Name: "BadFiles", Hosts: 1, Run: badFiles},
		{Name: "Stranger", Hosts: 3, Run: stranger},
		{Name: "RefuseTaken", Hosts: 1, Lab: true, Run: refuseTaken},
		{Name: "RefuseSelf", Hosts: 1, Run: refuseSelf},
		{Name: "RefuseMesh", Hosts: 2, Run: refuseMesh},
		{Name: "RefuseClone", Hosts: 4, Lab: true, Limit: 2 * time.Minute, Run: refuseClone},
		{Name: "RefuseDisk", Hosts: 2, Lab: true, Run: refuseDisk},
		{Name: "RefuseFlood", Hosts: 4, Lab: true, Run: refuseFlood},
		{Name: "Comings", Hosts: 2, Limit: 10 * time.Minute, Lab: true, Run: comings},
		{Name: "Repair", Hosts: 2, Run: repair},
		{Name: "OneHost", Hosts: 1, Run: oneHost},
		{Name: "IPv6Underlay", Hosts: 2, Lab: true, Run: ipv6Underlay},
		{Name: "BehindNAT", Hosts: 3, Lab: true, Run: behindNAT},
		{Name: "CutCable", Hosts: 2, Lab: true, Run: cutCable},
		{Name: "PartialTCP", Hosts: 3, Lab: true, Run: partialTCP},
		{Name: "BlockedUDP", Hosts: 2, Lab: true, Run: blockedUDP},
		{Name: "BadCable", Hosts: 2, Limit: 3 * time.Minute, Lab: true, Wires: true, Run: badCable},
		{Name: "Containers", Hosts: 2, Limit: 2 * time.Minute, Lab: true, Run: containers},
		{Name: "Idle", Hosts: 10, Limit: 2 * time.Minute, Lab: true, Run: idle},
	}
}

// Portable lists those that run on machines of any kind.
func Portable() []Scenario {
	var some []Scenario
	for _, s := range All() {
		if !s.Lab && !s.Wires {
			some = append(some, s)
		}
	}
	return some
}
