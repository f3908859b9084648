"""The kernel: one control step of one environment a thread, all substeps, the stages in order.

The kernel knows no robot: trees, constants and parameters are arguments, so that one compilation serves all models.

How its adjoint, which Warp generates from this code, stays exact:

- Nothing is carried from one iteration of a loop to the next in a register, only through arrays.
- Every element of an array is stored once, before it is read; what is summed is stored first and then added to with
  ``+=`` in this file. The functions of the stages return values and store nothing, except the list of contacts, the
  inverse of the mass matrix and the solve with it, which have adjoints of their own.
- All substeps have their own rows in the scratch. In the adjoint kernel the call of ``advance`` runs the step again
  and so fills the rows for this environment; then the loops are walked backwards, reading them.
- The adjoint of a store sets the adjoint of the element to zero. So the adjoints of the scratch are zero before and
  after each environment, whatever happened in it, and environments that share a lane cannot reach each other.

Rows of arrays are taken once and named, since finding an element in a row is much cheaper than in a whole array.
"""

import functools
from types import SimpleNamespace
from typing import Any

import warp as wp

from diffenvs.kernels.arguments import Tree, arguments, component
from diffenvs.kernels.collision import collision
from diffenvs.kernels.contact import contact
from diffenvs.kernels.integrator import integrator
from diffenvs.kernels.inverse_dynamics import inverse_dynamics
from diffenvs.kernels.joint_forces import joint_forces
from diffenvs.kernels.kinematics import kinematics
from diffenvs.kernels.mass_matrix import mass_matrix
from diffenvs.model import JointType
from diffenvs.spatial import algebra

FREE = wp.constant(int(JointType.FREE))
FIXED = wp.constant(int(JointType.FIXED))
ARMATURE = component("joint", "armature")


@functools.cache
def control_step(real: Any) -> SimpleNamespace:
    """Build the kernel for one scalar type.

    Returns
    -------
    SimpleNamespace
        ``kernel``, which takes the structs of :mod:`diffenvs.kernels.arguments`.
    """
    types = algebra(real)
    vec3, vec4, vec6, vec8, vec10 = types.vec3, types.vec4, types.vec6, types.vec8, types.vec10
    mat33, quat, transform = types.mat33, types.quat, types.transform
    compose, cross_motion, force_at, point_velocity = (
        types.compose,
        types.cross_motion,
        types.force_at,
        types.point_velocity,
    )
    Constants, Scratch = arguments(real).Constants, arguments(real).Scratch
    rotation_matrix, unit = types.rotation_matrix, types.unit
    stage = kinematics(real)
    free_pose, free_velocity = stage.free_pose, stage.free_velocity
    joint_pose, motion_subspace = stage.joint_pose, stage.motion_subspace
    bias_force = inverse_dynamics(real).bias_force
    stage = collision(real)
    candidate_distance, detect = stage.candidate_distance, stage.detect
    contact_force = contact(real).contact_force
    stage = joint_forces(real)
    passive_force, drive_force = stage.passive_force, stage.drive_force
    stage = mass_matrix(real)
    com_to_origin, rotational_inertia = stage.com_to_origin, stage.rotational_inertia
    coupling_inertia, translational_inertia = stage.coupling_inertia, stage.translational_inertia
    inertia_apply, invert, solve = stage.inertia_apply, stage.invert, stage.solve
    integrate_pose = integrator(real).integrate_pose

    @wp.func
    def advance(
        env: int,
        tree: Tree,
        constants: Constants,
        # parameters [environment, index]
        body: wp.array2d[vec10],
        joint: wp.array2d[vec8],
        material: wp.array2d[vec4],
        gear: wp.array2d[real],
        gravity: wp.array[vec3],
        # state and action [environment, index]
        q_in: wp.array2d[real],
        qd_in: wp.array2d[real],
        action: wp.array2d[real],
        # intermediate results
        scratch: Scratch,
        # out [environment, index]
        q_out: wp.array2d[real],
        qd_out: wp.array2d[real],
    ):
        zero = real(0.0)
        links = tree.links
        dofs = tree.dofs
        entries = tree.entries
        tree_link = tree.link
        tree_entry = tree.entry
        candidate_kind = tree.candidate_kind
        candidate_owner = tree.candidate_owner
        dof_link = tree.dof_link
        actuator_dof = tree.actuator_dof
        h = constants.h
        joint_frame = constants.joint_frame
        joint_axis = constants.joint_axis
        up = constants.up
        segment = constants.segment
        segment_half = constants.segment_half
        other_frame = constants.other_frame
        other_size = constants.other_size
        law = constants.law
        body_env = body[env]
        joint_env = joint[env]
        material_env = material[env]
        gravity_env = gravity[env]
        lane = env % scratch.lanes
        drive = scratch.drive[lane]
        q = scratch.q[lane]
        qd = scratch.qd[lane]
        pose = scratch.pose[lane]
        subspace = scratch.subspace[lane]
        velocity = scratch.velocity[lane]
        bias = scratch.bias[lane]
        force = scratch.force[lane]
        tau = scratch.tau[lane]
        tau_adjoint = scratch.tau_adjoint[lane]
        rotational = scratch.rotational[lane]
        coupling = scratch.coupling[lane]
        translational = scratch.translational[lane]
        momentum = scratch.momentum[lane]
        H = scratch.H[lane]
        H_adjoint = scratch.H_adjoint[lane]
        inverse = scratch.inverse[lane]
        inverse_rows = scratch.inverse_rows[lane]
        sums = scratch.sums[lane]
        sums_rows = scratch.sums_rows[lane]
        qdd = scratch.qdd[lane]
        qdd_rows = scratch.qdd_rows[lane]
        qdd_adjoint = scratch.qdd_adjoint[lane]
        bound = scratch.bound[lane]
        active = scratch.active[lane]
        work = scratch.work[lane]
        work_rows = scratch.work_rows[lane]

        for c in range(tree.coordinates):
            q[0, c] = q_in[env, c]
        for d in range(dofs):
            qd[0, d] = qd_in[env, d]
            drive[d] = zero
        for u in range(tree.actuators):
            drive[actuator_dof[u]] += drive_force(action[env, u], gear[env, u])

        for s in range(constants.substeps):
            q_s = q[s]
            qd_s = qd[s]
            q_next = q[s + 1]
            qd_next = qd[s + 1]
            pose_s = pose[s]
            subspace_s = subspace[s]
            velocity_s = velocity[s]
            bias_s = bias[s]
            force_s = force[s]
            tau_s = tau[s]
            qdd_s = qdd[s]
            active_s = active[s]
            block = s // constants.interval
            inverse_rows_b = inverse_rows[block]
            sums_rows_b = sums_rows[block]

            # Root to leaf: pose, velocity, velocity-product acceleration, and the force that they need.
            pose_s[0] = transform(vec3(zero, zero, zero), quat(zero, zero, zero, real(1.0)))
            velocity_s[0] = vec6()
            bias_s[0] = vec6()
            force_s[0] = vec6()
            for i in range(links):
                link = tree_link[i]
                parent = link[0]
                kind = link[1]
                c = link[2]
                d = link[3]
                if kind == FREE:
                    X_WB = free_pose(q_s, c)
                    V_PB_W = free_velocity(qd_s, d)
                    if s % constants.interval == 0:
                        for k in range(6):
                            subspace_s[d + k] = unit(k)
                else:
                    X_WJ = compose(pose_s[parent], joint_frame[i])
                    if kind == FIXED:
                        X_WB = X_WJ
                        V_PB_W = vec6()
                    else:
                        axis = joint_axis[i]
                        X_WB = joint_pose(X_WJ, kind, axis, q_s[c])
                        S_W = motion_subspace(X_WJ, kind, axis)
                        subspace_s[d] = S_W
                        V_PB_W = S_W * qd_s[d]
                V_WB = velocity_s[parent] + V_PB_W
                A_WB = bias_s[parent] + cross_motion(V_WB, V_PB_W)
                pose_s[i + 1] = X_WB
                velocity_s[i + 1] = V_WB
                bias_s[i + 1] = A_WB
                force_s[i + 1] = bias_force(X_WB, V_WB, A_WB, body_env[i], gravity_env)

            # Contact takes from the force that a link needs, and gives to the other link what it takes.
            detect(pose_s, tree, constants, bound, active_s)
            for k in range(active_s[0]):
                touching = active_s[k + 1]
                owner = candidate_owner[touching]
                phi, g, x = candidate_distance(
                    candidate_kind[touching],
                    pose_s[owner[0]],
                    segment[touching],
                    segment_half[touching],
                    pose_s[owner[1]],
                    other_frame[touching],
                    other_size[touching],
                    up,
                )
                F_A = force_at(
                    contact_force(
                        phi,
                        point_velocity(velocity_s[owner[0]] - velocity_s[owner[1]], x),
                        g,
                        (material_env[owner[2]] + material_env[owner[3]]) * real(0.5),
                        law[owner[2]],
                    ),
                    x,
                )
                force_s[owner[0]] += -F_A
                force_s[owner[1]] += F_A

            # Leaf to root: forces of subtrees; then the generalised forces left to accelerate the robot.
            for m in range(links):
                force_s[tree_link[links - 1 - m][0]] += force_s[links - m]
            for i in range(links):
                link = tree_link[i]
                kind = link[1]
                d = link[3]
                if kind == FREE:
                    F_link = force_s[i + 1]
                    for k in range(6):
                        tau_s[d + k] = -F_link[k]
                elif kind != FIXED:
                    tau_s[d] = (
                        drive[d]
                        + passive_force(q_s[link[2]], qd_s[d], joint_env[d])
                        - wp.dot(subspace_s[d], force_s[i + 1])
                    )

            # Mass matrix and its inverse, at the start of a block.
            if s % constants.interval == 0:
                rotational_b = rotational[block]
                coupling_b = coupling[block]
                translational_b = translational[block]
                momentum_b = momentum[block]
                H_b = H[block]
                rotational_b[0] = mat33()
                coupling_b[0] = mat33()
                translational_b[0] = mat33()
                for i in range(links):
                    X_link = pose_s[i + 1]
                    R_link = rotation_matrix(wp.transform_get_rotation(X_link))
                    S_link = com_to_origin(X_link, R_link, body_env[i])
                    rotational_b[i + 1] = rotational_inertia(R_link, S_link, body_env[i])
                    coupling_b[i + 1] = coupling_inertia(R_link, S_link, body_env[i])
                    translational_b[i + 1] = translational_inertia(R_link, body_env[i])
                for m in range(links):
                    above = tree_link[links - 1 - m][0]
                    rotational_b[above] += rotational_b[links - m]
                    coupling_b[above] += coupling_b[links - m]
                    translational_b[above] += translational_b[links - m]
                for d in range(dofs):
                    owner_row = dof_link[d]
                    momentum_b[d] = inertia_apply(
                        rotational_b[owner_row], coupling_b[owner_row], translational_b[owner_row], subspace_s[d]
                    )
                for e in range(entries):
                    row = tree_entry[e][0]
                    column = tree_entry[e][1]
                    value = wp.dot(subspace_s[column], momentum_b[row])
                    if row == column:
                        value += joint_env[row][ARMATURE]
                    H_b[e] = value
                invert(H_b, H_adjoint[block], tree_entry, entries, dofs, inverse[block], inverse_rows_b, sums[block])

            solve(
                inverse_rows_b,
                sums_rows_b,
                dofs,
                tau_s,
                tau_adjoint[s],
                qdd_rows[s],
                qdd_adjoint[s],
                work,
                work_rows,
            )

            # Semi-implicit Euler.
            for d in range(dofs):
                qd_next[d] = qd_s[d] + qdd_s[d] * h
            for i in range(links):
                link = tree_link[i]
                kind = link[1]
                c = link[2]
                d = link[3]
                if kind == FREE:
                    X_next = integrate_pose(pose_s[i + 1], free_velocity(qd_next, d), h)
                    for k in range(7):
                        q_next[c + k] = X_next[k]
                elif kind != FIXED:
                    q_next[c] = q_s[c] + qd_next[d] * h

        for c in range(tree.coordinates):
            q_out[env, c] = q[constants.substeps, c]
        for d in range(dofs):
            qd_out[env, d] = qd[constants.substeps, d]

    @wp.kernel(module="unique", enable_backward=True, module_options={"cpu_compiler_flags": _cpu_flags()})
    def kernel(
        tree: Tree,
        constants: Constants,
        body: wp.array2d[vec10],
        joint: wp.array2d[vec8],
        material: wp.array2d[vec4],
        gear: wp.array2d[real],
        gravity: wp.array[vec3],
        q_in: wp.array2d[real],
        qd_in: wp.array2d[real],
        action: wp.array2d[real],
        scratch: Scratch,
        q_out: wp.array2d[real],
        qd_out: wp.array2d[real],
    ):
        advance(
            wp.tid(),
            tree,
            constants,
            body,
            joint,
            material,
            gear,
            gravity,
            q_in,
            qd_in,
            action,
            scratch,
            q_out,
            qd_out,
        )

    return SimpleNamespace(kernel=kernel)


def _cpu_flags() -> str:
    """Warp's own flags, and multiplications fused with additions, which Warp's one-operation statements prevent."""
    return f"{wp.config.cpu_compiler_flags or '-march=native'} -ffp-contract=fast"
